"""The verbs of the product as functions: generate, import, check, train, evaluate, plan, explain and the others.

The command line, the app and notebooks all call these. Heavy imports happen inside the functions. The examples run from
any empty folder, `generate` and `train` first.
"""

from crm_models.workflow.cohorts import check as check
from crm_models.workflow.cohorts import generate as generate
from crm_models.workflow.cohorts import import_files as import_files
from crm_models.workflow.cohorts import import_sql as import_sql
from crm_models.workflow.evaluating import compare as compare
from crm_models.workflow.evaluating import evaluate as evaluate
from crm_models.workflow.evaluating import report as report
from crm_models.workflow.evaluating import report_summary as report_summary
from crm_models.workflow.experiments import benchmark as benchmark
from crm_models.workflow.experiments import paper as paper
from crm_models.workflow.explaining import counterfactuals as counterfactuals
from crm_models.workflow.explaining import drivers as drivers
from crm_models.workflow.explaining import explain as explain
from crm_models.workflow.explaining import explain_steps as explain_steps
from crm_models.workflow.planning import export_plans as export_plans
from crm_models.workflow.planning import plan as plan
from crm_models.workflow.planning import plan_summary as plan_summary
from crm_models.workflow.planning import score_stream as score_stream
from crm_models.workflow.training import resume as resume
from crm_models.workflow.training import run_config as run_config
from crm_models.workflow.training import run_summary as run_summary
from crm_models.workflow.training import stability as stability
from crm_models.workflow.training import train as train
from crm_models.workflow.training import tune as tune
