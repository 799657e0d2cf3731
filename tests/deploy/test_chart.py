"""The chart, rendered by Helm's own engine. `WRITE=1` writes the expected messages anew."""

import json
import os
import re
import subprocess
import unittest

import helm_python as helm
import yaml

import rules
from checks import check_gateway, check_schema
from render import CHART, documents, render, rendered

VALUES = sorted(CHART.glob("ci/*-values.yaml"))
WRONG = sorted(CHART.glob("ci/wrong/*.yaml"))


class TheChart(unittest.TestCase):
    def test_renders_with_each_set_of_values(self):
        self.assertGreaterEqual(len(VALUES), 10)
        for path in VALUES:
            with self.subTest(path.name):
                values = yaml.safe_load(path.read_text())
                found = rendered(values, name="bearer-proxy", namespace="travel")
                check_schema(self, found)
                check_gateway(self, values, found)

    def test_passes_the_strict_lint(self):
        for path in VALUES:
            with self.subTest(path.name):
                report = helm.lint(CHART, yaml.safe_load(path.read_text()), strict=True, kube_version="v1.29.0")
                # 1 is information: a chart without an icon.
                self.assertEqual([m for m in report["messages"] if m["severity"] > 1] + report["errors"], [])

    def test_refuses_wrong_values_with_a_clear_message(self):
        self.assertGreaterEqual(len(WRONG), 10)
        for path in WRONG:
            with self.subTest(path.name):
                with self.assertRaises(helm.HelmError) as refused:
                    render(yaml.safe_load(path.read_text()))
                message = re.sub(r"^.*?execution error at [^\n]*\n+", "", str(refused.exception), flags=re.S).strip() + "\n"
                expected = path.with_suffix(".txt")
                if os.environ.get("WRITE"):
                    expected.write_text(message)
                self.assertEqual(message, expected.read_text())

    def test_takes_every_value_and_no_other(self):
        """The schema, the defaults and the templates name the same values."""
        schema = json.loads((CHART / "values.schema.json").read_text())["properties"]
        defaults = yaml.safe_load((CHART / "values.yaml").read_text())
        # Helm sets these for a dependency.
        self.assertEqual(set(schema) - {"global", "enabled"}, set(defaults))
        templates = "".join(path.read_text() for path in CHART.glob("templates/*"))
        for name, default in defaults.items():
            self.assertRegex(templates, rf"(\$values|\.Values)\.{name}\b", name)
            fields = schema[name].get("properties")
            if fields and schema[name].get("additionalProperties") is False:
                self.assertEqual(set(fields), set(default), name)

    def test_prints_the_commands_that_are_left(self):
        for path in VALUES:
            with self.subTest(path.name):
                values = yaml.safe_load(path.read_text())
                files = render(values, namespace="travel")
                commands = [line.strip() for line in files["NOTES.txt"].splitlines() if line.startswith("  ")]
                subprocess.run(["bash", "-n"], input="\n".join(commands), text=True, check=True)
                variables = rules.variables(rules.proxy(next(rules.pods(documents(files["deployment.yaml"])))[1]))
                created = re.findall(r"create secret generic (\S+)", files["NOTES.txt"])
                by_hand = variables["STORE__KIND"] == "kubernetes" and not values.get("rbac", {}).get("allowCreate")
                self.assertEqual(created, [variables["STORE__NAME"]] if by_hand else [])
                self.assertEqual("login --paste" in files["NOTES.txt"], variables.get("OAUTH__GRANT") is None)

    def test_makes_a_monitor_and_an_external_secret(self):
        found = {path.stem: rendered(yaml.safe_load(path.read_text())) for path in VALUES}
        monitor, = [d for d in found["monitoring-values"] if d["kind"] == "PodMonitor"]
        pod = [d for d in found["monitoring-values"] if d["kind"] == "Deployment"][0]["spec"]["template"]
        self.assertLessEqual(monitor["spec"]["selector"]["matchLabels"].items(), pod["metadata"]["labels"].items())
        ports = {port["name"] for port in rules.proxy(pod["spec"])["ports"]}
        self.assertIn(monitor["spec"]["podMetricsEndpoints"][0]["port"], ports)
        secret, = [d for d in found["external-secret-values"] if d["kind"] == "ExternalSecret"]
        keys = {entry["secretKey"] for entry in secret["spec"]["data"]}
        self.assertEqual(keys, {"client-id", "client-secret", "store-keys", "admin-key"})
        mounted = [d for d in found["external-secret-values"] if d["kind"] == "Deployment"][0]["spec"]["template"]["spec"]["volumes"]
        self.assertEqual(mounted[0]["secret"]["secretName"], secret["spec"]["target"]["name"])
