"""What must hold for each rendered workload, and the documented formula for memory."""

import math
import re

MIB = 1 << 20
CREDENTIALS, TOKEN = "bearer-proxy-secrets", "bearer-proxy-token"
TOKEN_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"


def pods(documents):
    """The name and the pod specification of each workload."""
    for document in documents:
        if document["kind"] in ("Deployment", "StatefulSet"):
            yield document["metadata"]["name"], document["spec"]["template"]["spec"]


def proxy(pod):
    """The container of the proxy: there is exactly one."""
    found = [container for container in containers(pod) if container["name"] == "bearer-proxy"]
    assert len(found) == 1, [container["name"] for container in found]
    return found[0]


def containers(pod):
    return pod.get("initContainers", []) + pod["containers"]


def variables(container):
    names = [entry["name"] for entry in container["env"]]
    assert len(names) == len(set(names)), f"a variable is set twice: {names}"
    return {entry["name"].removeprefix("BEARER_PROXY_"): entry.get("value") for entry in container["env"]}


def only_the_proxy_has_credentials(pod):
    """No other container mounts the API server's token, the client's credentials or the store's keys."""
    assert pod["automountServiceAccountToken"] is False
    secret_volumes = {volume["name"] for volume in pod["volumes"] if volume["name"].startswith("bearer-proxy-")}
    for container in containers(pod):
        mounts = {mount["name"]: mount["mountPath"] for mount in container.get("volumeMounts", [])}
        if container["name"] == "bearer-proxy":
            assert secret_volumes <= set(mounts), f"{secret_volumes} are not all mounted"
            assert mounts.get(TOKEN, TOKEN_PATH) == TOKEN_PATH
            continue
        leaked = secret_volumes & set(mounts)
        assert not leaked, f"{container['name']} mounts {leaked}"
        referred = re.findall(r"bearer-proxy-(?:client|secrets|token)", str(container))
        assert not referred, f"{container['name']} refers to {referred}"


def the_memory_limit_follows_the_formula(container):
    """docs/reference/limits.md, for HTTP/2 clients, with 1 MiB of socket buffers for each connection on either side."""
    set_to = variables(container)
    connections = int(set_to["GUARD__MAX_CONNECTIONS"])
    in_flight = int(set_to["UPSTREAM__MAX_IN_FLIGHT"])
    budget = mebibytes(set_to["UPSTREAM__REPLAY_BUDGET"].removesuffix("B"))
    ceiling = 10 + budget + connections + math.ceil(in_flight * 4.7) + connections + in_flight
    limit = mebibytes(container["resources"]["limits"]["memory"])
    assert ceiling <= limit, f"{ceiling} MiB may be held, of {limit} MiB"
    return ceiling, limit


def mebibytes(quantity):
    number, unit = re.fullmatch(r"(\d+)(Mi|Gi)", quantity).groups()
    return int(number) * (1024 if unit == "Gi" else 1)


def the_pod_is_restricted(pod, container):
    security = container["securityContext"]
    assert security["runAsNonRoot"] and security["readOnlyRootFilesystem"]
    assert security["allowPrivilegeEscalation"] is False and security["capabilities"] == {"drop": ["ALL"]}
    profile = security.get("seccompProfile") or pod["securityContext"]["seccompProfile"]
    assert profile == {"type": "RuntimeDefault"}
    assert pod["enableServiceLinks"] is False


def the_role_names_two_objects(documents, store):
    """Exactly the store's Secret and Lease, without `list`. `create` is in a Role of its own."""
    roles = {document["metadata"]["name"]: document["rules"] for document in documents if document["kind"] == "Role"}
    assert not [document for document in documents if document["kind"].startswith("Cluster")]
    for name, rules in roles.items():
        for rule in rules:
            assert rule["resources"] in (["secrets"], ["leases"]), rule
            if name.endswith("-create"):
                assert rule["verbs"] == ["create"], rule
            else:
                assert rule["resourceNames"] == [store], rule
                assert set(rule["verbs"]) <= {"get", "watch", "patch"}, rule
    return roles


def nothing_owns_the_grant(documents, store):
    for document in documents:
        if document["kind"] in ("Secret", "ExternalSecret", "Lease"):
            assert document["metadata"]["name"] != store, document["kind"]
        target = document.get("spec", {}).get("target", {})
        assert not isinstance(target, dict) or target.get("name") != store
