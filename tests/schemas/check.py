"""Checks an export against the published schemas: check.py TOOLS ENGINE DIR.

TOOLS is the folder that tests/all installs the schemas to. Prints every problem and ends with 1 when there is any.
"""

import ipaddress
import json
import re
import sys
from pathlib import Path

TOOLS, ENGINE, FOLDER = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
sys.path.insert(0, str(TOOLS / "python"))

import jsonschema  # noqa: E402
import kubernetes_validate  # noqa: E402
import yaml  # noqa: E402

KUBERNETES = "1.37.0"
COMPOSE = TOOLS / "python/check_jsonschema/builtin_schemas/vendor/compose-spec.json"
SHADOW = Path(__file__).with_name("shadow.schema.json")


class Strict(yaml.SafeLoader):
    """A loader that refuses a key that stands twice in one map."""


def strict_map(loader, node):
    keys = [loader.construct_object(key) for key, _ in node.value]
    twice = {key for key in keys if keys.count(key) > 1}
    if twice:
        raise yaml.YAMLError(f"keys that stand twice: {sorted(twice)} at line {node.start_mark.line + 1}")
    return yaml.SafeLoader.construct_mapping(loader, node, deep=True)


Strict.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, strict_map)

problems = []


def load(path):
    return [one for one in yaml.load_all(path.read_text(), Loader=Strict) if one is not None]


def expect(holds, message):
    if not holds:
        problems.append(message)


def against(schema, document, name):
    validator = jsonschema.validators.validator_for(schema)(schema, format_checker=jsonschema.FormatChecker())
    for error in validator.iter_errors(document):
        problems.append(f"{name}: {'/'.join(map(str, error.absolute_path))}: {error.message[:300]}")


def compose():
    schema = json.loads(COMPOSE.read_text())
    (base,), (first,) = load(FOLDER / "compose.yaml"), load(FOLDER / "compose.first.yaml")
    against(schema, base, "compose.yaml")
    against(schema, first, "compose.first.yaml")
    expect(set(first["services"]) == set(base["services"]), "the first start has other services")
    (network,) = base["networks"].values()
    (config,) = network["ipam"]["config"]
    subnet = ipaddress.ip_network(config["subnet"])
    addresses = [one["networks"]["regatta"]["ipv4_address"] for one in base["services"].values()]
    expect(len(set(addresses)) == len(addresses), "two services share an address")
    expect(all(ipaddress.ip_address(one) in subnet for one in addresses), "an address lies outside the subnet")
    expect(config["gateway"] not in addresses, "the gateway's address is a node's")
    for name, service in base["services"].items():
        for volume in service["volumes"]:
            if volume["type"] == "bind":
                expect((FOLDER / volume["source"]).is_file(), f"{name}: no file {volume['source']}")
        expect("build" not in service or (FOLDER / service["build"]["context"] / "Dockerfile").is_file(), name)
    for name, secret in base["secrets"].items():
        path = FOLDER / secret["file"]
        expect(path.is_file() and path.stat().st_mode & 0o077 == 0, f"secret {name} is missing or open to others")
    return len(addresses)


def kubernetes():
    names, seen = set(), 0
    (base,) = load(FOLDER / "base/kustomization.yaml")
    (first,) = load(FOLDER / "first/kustomization.yaml")
    expect(first["resources"] == ["../base"], "the first start is made of something else")
    (patch,) = yaml.safe_load(first["patches"][0]["patch"])
    expect(patch["value"] == "--new", "the first start is like every other")
    listed = {FOLDER / "base" / one for one in base["resources"]}
    found = set((FOLDER / "base").rglob("*.yaml")) - {FOLDER / "base/kustomization.yaml"}
    expect(listed == found, f"files and resources differ: {listed ^ found}")
    for path in sorted(found):
        for document in load(path):
            seen += 1
            try:
                kubernetes_validate.validate(document, KUBERNETES, strict=True)
            except kubernetes_validate.ValidationError as error:
                problems.append(f"{path.name}: {document.get('kind')}: {error.message[:300]}")
            name = (document["kind"], document["metadata"].get("namespace"), document["metadata"]["name"])
            expect(name not in names, f"{name} is there twice")
            names.add(name)
            expect(document["kind"] != "Secret" or path.stat().st_mode & 0o077 == 0, f"{path} is open to others")
    expect(seen == 2 + 4 * len([kind for kind, *_ in names if kind == "StatefulSet"]), f"{seen} documents")
    return seen


def shadow():
    (document,) = load(FOLDER / "shadow.yaml")
    against(json.loads(SHADOW.read_text()), document, "shadow.yaml")
    gml = document["network"]["graph"]["inline"]
    nodes = [int(one) for one in re.findall(r"node \[\s+id (\d+)\s", gml)]
    edges = re.findall(r'edge \[\s+source (\d+)\s+target (\d+)\s+latency "(\d+) ns"\s+packet_loss ([\d.e-]+)\s+\]', gml)
    rates = [int(one) for one in re.findall(r'host_bandwidth_(?:up|down) "(\d+) bit"', gml)]
    expect(nodes == list(range(len(nodes))) and nodes, "points of the graph are not numbered")
    pairs = {(int(a), int(b)) for a, b, *_ in edges}
    expect(pairs == {(a, b) for a in nodes for b in nodes} and len(edges) == len(pairs), "the graph is not complete")
    expect(all(int(one[2]) > 0 and 0 <= float(one[3]) <= 1 for one in edges), "an edge without latency, or a loss that is none")
    expect(all(one > 0 and one % 8 == 0 for one in rates), "a rate that is no number of bytes")
    expect(gml.count("node [") == len(nodes) and gml.count("edge [") == len(edges), "the graph has something else")
    addresses = [host["ip_addr"] for host in document["hosts"].values()]
    expect(len(set(addresses)) == len(addresses), "two hosts share an address")
    for name, host in document["hosts"].items():
        expect(host["network_node_id"] in nodes, f"{name} is at no point of the graph")
        for process in host["processes"]:
            program = FOLDER / process["path"]
            expect(program.is_file() and program.stat().st_mode & 0o111, f"{name}: no program {process['path']}")
            config = re.search(r"--config \.\./\.\./(\S+)", process["args"])
            place = FOLDER / document["general"]["template_directory"] / config.group(1)
            expect(place.is_file() and place.with_name("key.pem").is_file(), f"{name}: no configuration {place}")
    return len(addresses)


checked = {"compose": compose, "kubernetes": kubernetes, "shadow": shadow}[ENGINE]()
for problem in problems:
    print(problem)
expect(checked > 0, "nothing was checked")
print(f"{ENGINE}: {checked} checked, {len(problems)} problems")
sys.exit(bool(problems))
