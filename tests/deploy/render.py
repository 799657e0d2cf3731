"""Renders the chart with Helm's own engine."""

from pathlib import Path

import helm_python as helm
import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "deploy/chart"


def render(values, chart=CHART, name="bearer-proxy", namespace="default"):
    """The rendered templates by file name. Raises `helm.HelmError`."""
    with helm.Chart.load(chart) as loaded:
        loaded.validate_schema(values)
        rendered = loaded.render(values, name=name, namespace=namespace)
    return {path.split("/templates/")[1]: text for path, text in rendered.items()}


def documents(text):
    return [document for document in yaml.safe_load_all(text) if document]


def rendered(values, **options):
    files = render(values, **options)
    files.pop("NOTES.txt")
    return [document for text in files.values() for document in documents(text)]
