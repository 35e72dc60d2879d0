"""The command that says what is wrong with a home, and repairs it; slow imports wait until it needs them."""

from __future__ import annotations

import argparse
import sys


def doctor_options(doctor: argparse.ArgumentParser) -> None:
    """Options of `doctor`."""
    text = "experiments, or .py files, to compare with their runs (default: all that have runs)"
    doctor.add_argument("experiments", metavar="EXPERIMENT", nargs="*", help=text)
    doctor.add_argument("--fix", action="store_true", help="repair what can be repaired; nothing finished is deleted")
    doctor.add_argument("--data-dir", metavar="DIR", help="folder of named data sets (default: $ULMFIT_LAB_DATA)")


def doctor_command(args: argparse.Namespace) -> int:
    """Print a line for everything that is amiss, with --fix repair it; status 1 where something is left."""
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
        found = Diagnosis([check_store(home, uri, error), *check_stages(home)], ["Runs and trials were not looked at."])
    else:
        found = examine(home, tracker, args.experiments, data_dir(args.data_dir))
    findings = [*(Finding(*each) for each in missing_packages(home)), *found.findings]
    for finding in findings:
        print(f"PROBLEM {finding}")
    for note in found.notes:
        print(f"note: {note}")
    left = len(findings)
    if args.fix:
        unmended = list(repair(findings, home))
        for finding, why in unmended:
            print(f"LEFT {finding.problem}: {why}", file=sys.stderr)
        print(f"{left - len(unmended)} of {left} problems repaired.")
        left = len(unmended)
    print(f"{left} problems are left." if left else "Nothing is amiss.")
    return 1 if left else 0
