"""For tests that fork sweeps: what a process imports first, so that each fork does not import 3,800 modules anew."""

IMPORTS = """
import matplotlib.backends.backend_agg, mlflow.store.tracking.sqlalchemy_store, optuna.storages
import seaborn, sklearn.metrics, spacy.lang.en, torch._dynamo
import ulmfit_lab.experiment.confounds, ulmfit_lab.sweep.display, ulmfit_lab.sweep.optuna_study
import ulmfit_lab.sweep.runner, ulmfit_lab.pipeline.baselines, ulmfit_lab.pipeline.training_stages
import ulmfit_lab.tracking.tracker, ulmfit_lab.tracking.views, ulmfit_lab.training.confusion
"""
