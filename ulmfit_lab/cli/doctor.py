"""The `doctor` command. Slow modules are imported when they are needed."""

from __future__ import annotations

import argparse
import sys


def doctor_options(doctor: argparse.ArgumentParser) -> None:
    """Add the options of `doctor`."""
    text = "experiments or .py files to check (default: all with runs)"
    doctor.add_argument("experiments", metavar="EXPERIMENT", nargs="*", help=text)
    doctor.add_argument("--fix", action="store_true", help="repair problems; finished results are never deleted")
    doctor.add_argument("--data-dir", metavar="DIR", help="folder of named data sets (default: $ULMFIT_LAB_DATA)")


def doctor_command(args: argparse.Namespace) -> int:
    """Print problems and notes; with --fix repair the problems. Return 1 if problems remain."""
    from ulmfit_lab.doctor.checks import Diagnosis, examine, repair
    from ulmfit_lab.doctor.files import Finding, check_stages, check_store
    from ulmfit_lab.doctor.installation import installation, missing_packages
    from ulmfit_lab.tracking.tracker import open_tracker
    from ulmfit_lab.utils.errors import LabError
    from ulmfit_lab.utils.home import data_dir, open_home

    home = open_home(args.home, args.tracking_uri, write=args.fix)
    print("\n".join(installation(home)))
    uri = args.tracking_uri or home.tracking_uri
    try:
        tracker = open_tracker(home, uri, moved=False)
    except LabError as error:
        found = Diagnosis([check_store(home, uri, error), *check_stages(home)], ["Runs and trials were not checked."])
    else:
        found = examine(home, tracker, args.experiments, data_dir(args.data_dir))
    findings = [*(Finding(*each) for each in missing_packages(home)), *found.findings]
    for finding in findings:
        print(f"PROBLEM {finding}")
    for note in found.notes:
        print(f"note: {note}")
    remaining = len(findings)
    if args.fix:
        unrepaired = list(repair(findings, home))
        for finding, why in unrepaired:
            print(f"NOT REPAIRED {finding.problem}: {why}", file=sys.stderr)
        remaining = len(unrepaired)
        print(f"{len(findings) - remaining} of {len(findings)} problems repaired.")
    print(f"{remaining} problems remain." if remaining else "No problems found.")
    return 1 if remaining else 0
