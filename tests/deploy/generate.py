"""Generates the plain manifests from the chart."""

import re
import shutil
import tempfile
from pathlib import Path

from render import CHART, ROOT, render

MANIFESTS = ROOT / "deploy/kubernetes"
TEMPLATES = Path(__file__).parent / "templates"

NO_DIGEST = "0" * 64
SIDECAR = {
    "image": {"repository": "bearer-proxy"},
    "existingSecret": "bearer-proxy-client",
    # One application needs less than a gateway.
    "limits": {"maxConnections": 64, "maxInFlight": 16, "replayBudgetMiB": 16},
    "resources": {"requests": {"cpu": "20m", "memory": "32Mi"}, "limits": {"cpu": "2"}},
    "terminationGracePeriodSeconds": 120,
    # The files of a Secret belong to root and the pod's fsGroup. Without an fsGroup, which would change the application's volumes,
    # their group is 0. The image has no other file.
    "securityContext": {"runAsGroup": 0, "seccompProfile": {"type": "RuntimeDefault"}},
}
GATEWAY = {
    "image": {"repository": "YOUR-REGISTRY/bearer-proxy"},
    "existingSecret": "bearer-proxy-client",
    "clientKeys": [NO_DIGEST],
}
POSTGRES = GATEWAY | {"replicaCount": 3, "store": {"kind": "postgres"}}
GATEWAY_HEADER = """\
# Generated from the chart by `.ci/deploy --write`. Edit a copy.
#
# {title}
# docs/guides/kubernetes-gateway.md explains it.
# Replace YOUR-REGISTRY and YOUR-KEYS-SHA-256-DIGEST, and the namespace `default` in BEARER_PROXY_GUARD__HOSTS.
"""


def component(template):
    """A template of this folder, rendered with the chart's named templates."""
    with tempfile.TemporaryDirectory() as folder:
        chart = Path(folder) / "chart"
        shutil.copytree(CHART, chart, ignore=shutil.ignore_patterns("ci", "*.yaml", "NOTES.txt"))
        for name in ("Chart.yaml", "values.yaml"):
            shutil.copy(CHART / name, chart)
        shutil.copy(TEMPLATES / template, chart / "templates")
        return tidy(render(SIDECAR, chart)[template])


def plain(values, title):
    """The gateway without what only Helm needs."""
    rendered = render(values)
    rendered.pop("NOTES.txt")
    documents = [part for path in sorted(rendered) for part in re.split(r"^---$", rendered[path], flags=re.M) if part.strip()]
    text = "---\n".join(part.strip("\n") + "\n" for part in documents)
    text = re.sub(r"^ *(helm\.sh/chart|app\.kubernetes\.io/managed-by): .*\n", "", text, flags=re.M)
    return tidy(GATEWAY_HEADER.format(title=title) + text.replace(NO_DIGEST, "YOUR-KEYS-SHA-256-DIGEST"))


def tidy(text):
    return re.sub(r"[ \t]+$", "", text.strip("\n"), flags=re.M) + "\n"


def generated():
    """Each generated file of the repository, with its content."""
    return {
        MANIFESTS / "sidecar/sidecar.yaml": component("sidecar.yaml"),
        MANIFESTS / "sidecar/rbac.yaml": component("rbac.yaml"),
        MANIFESTS / "create.yaml": component("create.yaml"),
        MANIFESTS / "gateway.yaml": plain(GATEWAY, "A gateway for the applications of a namespace. Its replicas share one grant, in a Secret."),
        MANIFESTS / "gateway-postgres.yaml": plain(POSTGRES, "The gateway with its grant in PostgreSQL."),
    }


if __name__ == "__main__":
    for path, text in generated().items():
        path.write_text(text)
        print("wrote", path.relative_to(ROOT))
