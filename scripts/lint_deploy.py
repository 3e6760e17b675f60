"""Checks deploy/ without a cluster and without a container engine: `make lint-deploy`.

The chart is linted and rendered in all the shapes below; what comes of it and of the RayService is
held against Kubernetes' own schemas, with unknown fields forbidden. The RayService's outer form is
KubeRay's, whose schema comes with its operator: it is held against the file that KUBERAY_CRD names
(kubectl get crd rayservices.ray.io -o yaml), and without one only its pods and Serve's part are
checked. Needs the packages of the lock's section `deploy`; nginx is asked where it is installed.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import helm_python as helm
import jsonschema
import yaml

DEPLOY = Path(__file__).parents[1] / "deploy"
KUBERNETES = "1.34"

#: Values that must give a chart, and values that must be refused.
GOOD: dict[str, dict[str, Any]] = {
    "as it comes": {},
    "before upstreams": {
        "upstreams": ["http://vllm:8000"],
        "settings": {"MINIVAULT_MODEL": None},
        "allowFrom": [{"podSelector": {"matchLabels": {"app": "ingress"}}}],
        "disk": {"storageClass": "fast"},
    },
}
BAD: dict[str, dict[str, Any]] = {
    "no name to reach it by": {"allowedHosts": []},
    "a misspelt value": {"replica": 3},
    "a grace period shorter than the drain": {"graceSeconds": 60},
    "a model and upstreams": {"upstreams": ["http://vllm:8000"]},
}


class Wrong(Exception):
    """What a check found."""


def main() -> None:
    checks = {
        "Dockerfile": dockerfile,
        "compose.yaml": compose,
        "nginx.conf": nginx,
        "chart": chart,
        "rayservice.yaml": rayservice,
    }
    failed = False
    for name, check in checks.items():
        try:
            print(f"ok      {name}: {check()}")
        except Wrong as error:
            failed = True
            print(f"error   {name}: {error}")
    sys.exit(failed)


def dockerfile() -> str:
    """By hadolint, which knows what Docker makes of each line."""
    _run(_tool("hadolint"), str(DEPLOY / "Dockerfile"))
    return "hadolint has nothing to say"


def compose() -> str:
    """Nothing of it runs as root or writes outside its volumes, and all that it names is there."""
    content = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    for name, service in content["services"].items():
        if not service.get("read_only") or service.get("cap_drop") != ["ALL"]:
            raise Wrong(f"{name} may write everywhere, or has capabilities")
    build = content["services"]["minivault"]["build"]
    if not (DEPLOY / build["context"] / build["dockerfile"]).is_file():
        raise Wrong(f"{build['dockerfile']} is not there")
    return "read as YAML; a container engine has not seen it"


def nginx() -> str:
    """By nginx itself, which looks names up: so with a name that every machine knows."""
    program = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/bin:/opt/homebrew/bin")
    if not program:
        return "NOT checked, there is no nginx"
    text = (DEPLOY / "nginx.conf").read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        site = text.replace("server minivault:8000", "server localhost:8000")
        site = site.replace("/dev/stdout", f"{folder}/access.log")
        path = Path(folder, "nginx.conf")
        path.write_text(
            f"pid {folder}/pid; events {{}} http {{ {site} }}\n".replace("http { #", "http {\n#")
        )
        _run(program, "-t", "-e", f"{folder}/error.log", "-p", folder, "-c", str(path))
    return "nginx takes it"


def chart() -> str:
    """By Helm's own linter and renderer, and by Kubernetes' schemas."""
    place = str(DEPLOY / "chart")
    if errors := helm.lint(place)["errors"]:
        raise Wrong(str(errors))
    count = 0
    for name, values in GOOD.items():
        try:
            objects = list(_rendered(place, values))
        except helm.HelmError as error:
            raise Wrong(f"{name}: {error}") from None
        _validate(objects)
        count += len(objects)
    for name, values in BAD.items():
        try:
            list(_rendered(place, values))
        except helm.HelmError:
            continue
        raise Wrong(f"takes {name}")
    fits = f"{count} objects fit Kubernetes {KUBERNETES}"
    return f"Helm takes it, {fits}, {len(BAD)} wrong values are refused"


def rayservice() -> str:
    """By Kubernetes' schemas, and by KubeRay's and Ray's where they are."""
    text = (DEPLOY / "rayservice.yaml").read_text(encoding="utf-8")
    service, policy = yaml.safe_load_all(text)
    cluster = service["spec"]["rayClusterConfig"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    pods = [
        {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "pod"}, "template": pod}
        for pod in (each["template"] for each in groups)
    ]
    _validate([policy, *pods])
    return f"{len(pods)} pods fit; {_kuberay(service)}; {_serve(service['spec']['serveConfigV2'])}"


def _kuberay(service: Mapping[str, Any]) -> str:
    name = os.environ.get("KUBERAY_CRD")
    if not name:
        return "KubeRay's part is NOT checked, KUBERAY_CRD names no schema"
    definition = yaml.safe_load(Path(name).read_text(encoding="utf-8"))
    [version] = (each for each in definition["spec"]["versions"] if each["name"] == "v1")
    schema = version["schema"]["openAPIV3Schema"]
    _forbid_the_unknown(schema["properties"]["spec"])
    schema["properties"]["metadata"] = {"type": "object"}
    try:
        jsonschema.Draft202012Validator(schema).validate(service)
    except jsonschema.ValidationError as error:
        raise Wrong(f"{error.json_path}: {error.message[:300]}") from None
    return "KubeRay takes the whole"


def _forbid_the_unknown(schema: Any) -> None:
    """Kubernetes drops fields that it does not know, and says nothing."""
    if isinstance(schema, list):
        for each in schema:
            _forbid_the_unknown(each)
    if not isinstance(schema, dict):
        return
    if schema.get("x-kubernetes-int-or-string"):
        schema.pop("anyOf", None)
        schema["type"] = ["integer", "string"]
    if "properties" in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
        schema.setdefault("additionalProperties", False)
    for each in list(schema.values()):
        _forbid_the_unknown(each)


def _serve(config: str) -> str:
    try:
        from ray.serve.schema import ServeDeploySchema
    except ImportError:
        return "Serve's part is NOT checked, Ray is not here"
    ServeDeploySchema.model_validate(yaml.safe_load(config))
    return "Ray reads Serve's part"


def _rendered(place: str, values: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    with helm.Chart.load(place) as loaded:
        for text in loaded.render(dict(values), name="demo", namespace="texts").values():
            yield from filter(None, yaml.safe_load_all(text))


def _validate(objects: list[dict[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "objects.yaml")
        # As JSON, which is YAML: without anchors and notes.
        path.write_text("\n---\n".join(map(json.dumps, objects)), encoding="utf-8")
        _run(_tool("kubernetes-validate"), "--strict", "-k", KUBERNETES, str(path))


def _tool(name: str) -> str:
    return str(Path(sysconfig.get_path("scripts")) / name)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Wrong(f"{done.stdout}{done.stderr}".strip())


if __name__ == "__main__":
    main()
