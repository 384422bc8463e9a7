"""The data model's XML as flat dictionaries, in the form of `facts.cluster_facts`.

Independent of the node's own loader, so that the two cannot share a bug. Conformance
becomes the list of its results for every set of features.
"""

from __future__ import annotations

import re
from functools import cache
from itertools import combinations
from pathlib import Path
from xml.etree import ElementTree as ET

from evse_node.cluster.definitions.conformance import Presence
from evse_node.matter.data_model import Privilege
from tests.unit.cluster.definitions.facts import Facts

TYPES = {
    "bool": "boolean",
    "string": "char_string",
    "octstr": "octet_string",
    "map16": "bitmap16",
    "subject-id": "int64u",
    "systemtime-us": "systime_us",
    **{f"uint{bits}": f"int{bits}u" for bits in (8, 16, 32, 64)},
    **{f"int{bits}": f"int{bits}s" for bits in (8, 16, 32, 64)},
}
LENGTH_TYPES = ("char_string", "octet_string", "hwadr", "ipv4adr", "ipv6adr")
PRIVILEGES = {
    "view": Privilege.VIEW,
    "operate": Privilege.OPERATE,
    "manage": Privilege.MANAGE,
    "admin": Privilege.ADMINISTER,
    "": None,
}
CONFORMANCE = {
    "mandatoryConform": Presence.MANDATORY,
    "optionalConform": Presence.OPTIONAL,
    "provisionalConform": Presence.PROVISIONAL,
    "disallowConform": Presence.DISALLOWED,
    "deprecateConform": Presence.DISALLOWED,
    "describedConform": Presence.OPTIONAL,
}


def presence(element: ET.Element, features: frozenset[str]) -> Presence:
    for child in element:
        if child.tag == "otherwiseConform":
            for rule in child:
                if (found := applies(rule, features)) is not None:
                    return found
            return Presence.DISALLOWED
        if child.tag in CONFORMANCE:
            return applies(child, features) or Presence.DISALLOWED
    return Presence.MANDATORY


def applies(rule: ET.Element, features: frozenset[str]) -> Presence | None:
    return CONFORMANCE[rule.tag] if all(holds(term, features) for term in rule) else None


def holds(term: ET.Element, features: frozenset[str]) -> bool:
    if term.tag == "feature":
        return term.get("name") in features
    if term.tag == "orTerm":
        return any(holds(part, features) for part in term)
    if term.tag == "andTerm":
        return all(holds(part, features) for part in term)
    if term.tag == "notTerm":
        return not holds(term[0], features)
    assert term.tag in ("attribute", "equalTerm"), term.tag
    return False


def feature_sets(codes: list[str]) -> list[frozenset[str]]:
    return [
        frozenset(chosen)
        for count in range(len(codes) + 1)
        for chosen in combinations(codes, count)
    ]


def number(text: str | None) -> int | None:
    if text is None or not re.fullmatch(r"-?\d+", text):
        return None
    return int(text)


def integer_type(name: str) -> tuple[int, int] | None:
    """Return the range of an integer type; a bound at its end is no constraint."""
    if match := re.fullmatch(r"int(\d+)([us])", name):
        bits = int(match[1])
        return (0, 2**bits - 1) if match[2] == "u" else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    if name in ("elapsed_s", "epoch_s"):
        return 0, 2**32 - 1
    return (0, 0xFFFF) if name == "group_id" else None


def type_facts(path: str, element: ET.Element) -> Facts:
    name = element.get("type", "")
    entry = element.find("entry")
    is_list = name == "list"
    if entry is not None:
        name = entry.get("type", "")
    name = TYPES.get(name, name)
    name = name.lower().replace("-", "_") if "-" in name else name
    quality = element.find("quality")
    own_range: dict[str, int | None] = {
        "percent": 100,
        "percent100ths": 10000,
    }
    low: int | None = -27315 if name == "temperature" else None
    high = own_range.get(name)
    short = long = None
    if name == "hwadr":
        short, long = 6, 8
    constraint = element.find("constraint")
    for rule in constraint if constraint is not None else ():
        first, last = rule.find("from"), rule.find("to")
        start = first.get("value") if first is not None else None
        end = last.get("value") if last is not None else None
        value = rule.get("value") or (
            rule[0].get("value") if len(rule) and rule[0].tag == "constant" else None
        )
        if rule.tag == "between":
            low, high = number(start), number(end)
        elif rule.tag == "min":
            low = number(value)
        elif rule.tag == "max":
            high = number(value)
        elif rule.tag == "allowed":
            short = long = number(value)
        elif rule.tag in ("lengthBetween", "countBetween"):
            short, long = number(start), number(end)
        elif rule.tag in ("maxLength", "maxCount"):
            long = number(value)
        elif rule.tag in ("minLength", "minCount"):
            short = number(value)
        else:
            assert rule.tag == "desc", rule.tag
    if is_list or name in LENGTH_TYPES:
        short, long = low if short is None else short, high if long is None else long
        low = high = None
    if whole := integer_type(name):
        low = None if low == whole[0] else low
        high = None if high == whole[1] else high
    return {
        f"{path}.type": f"list[{name}]" if is_list else name,
        f"{path}.nullable": quality is not None and quality.get("nullable") == "true",
        f"{path}.range": (low, high),
        f"{path}.length": (short or None, long),
    }


def field_facts(path: str, element: ET.Element) -> Facts:
    facts: Facts = {}
    for field in element.findall("field"):
        field_id = int(field.get("id", ""), 0)
        if field_id == 254:
            continue
        place = f"{path}.{field_id}"
        rules = [child for child in field if child.tag.endswith("Conform")]
        access = field.find("access")
        facts[place] = field.get("name")
        facts[f"{place}.optional"] = any(
            rule.tag != "mandatoryConform" or len(rule) for rule in rules
        )
        facts[f"{place}.sensitive"] = access is not None and access.get("fabricSensitive") == "true"
        facts |= type_facts(place, field)
    return facts


def merged(base: ET.Element, derived: ET.Element | None) -> ET.Element:
    """Return an attribute of the base cluster with the changes of the derived cluster."""
    if derived is None or derived is base:
        return base
    element = ET.Element(base.tag, {**base.attrib, **derived.attrib})
    stated = {"conform" if child.tag.endswith("Conform") else child.tag for child in derived}
    element.extend(derived)
    element.extend(
        child
        for child in base
        if ("conform" if child.tag.endswith("Conform") else child.tag) not in stated
    )
    return element


def flag(element: ET.Element | None, name: str) -> bool:
    return element is not None and element.get(name) == "true"


def data_model_facts(root: ET.Element, base: ET.Element | None) -> Facts:
    """Return the facts of one cluster. `base` is the cluster that it is derived from."""
    identity = root.find("clusterIds/clusterId")
    assert identity is not None
    facts: Facts = {
        "id": int(root.get("id", "") or identity.get("id", ""), 0),
        "revision": int(root.get("revision", "")),
    }
    body = root if base is None else base
    codes = [feature.get("code", "") for feature in body.findall("features/feature")]
    sets = feature_sets(codes)

    def conformance(element: ET.Element) -> list[Presence]:
        return [presence(element, features) for features in sets]

    for feature in body.findall("features/feature"):
        path = f"feature {feature.get('bit')}"
        derived = root.find(f"features/feature[@bit='{feature.get('bit')}']")
        facts[path] = (feature.get("code"), feature.get("name"))
        facts[f"{path}.conformance"] = conformance(feature if derived is None else derived)
    for attribute in body.findall("attributes/attribute"):
        path = f"attribute {int(attribute.get('id', ''), 0):04X}"
        derived = root.find(f"attributes/attribute[@id='{attribute.get('id')}']")
        element = merged(attribute, derived)
        access, quality = element.find("access"), element.find("quality")
        facts[path] = attribute.get("name")
        facts[f"{path}.access"] = (
            PRIVILEGES[(access.get("readPrivilege") or "") if access is not None else "view"],
            PRIVILEGES[(access.get("writePrivilege") or "") if access is not None else ""],
        )
        facts[f"{path}.timed"] = flag(access, "timed")
        facts[f"{path}.scoped"] = flag(access, "fabricScoped")
        persistence = quality.get("persistence") if quality is not None else None
        facts[f"{path}.qualities"] = (
            persistence == "nonVolatile",
            persistence == "fixed",
            flag(quality, "quieterReporting"),
            flag(quality, "changeOmitted"),
        )
        facts[f"{path}.conformance"] = conformance(element)
        facts |= type_facts(path, element)
    for command in body.findall("commands/command"):
        is_response = command.get("direction") == "responseFromServer"
        kind = "response" if is_response else "command"
        path = f"{kind} {int(command.get('id', ''), 0):02X}"
        access = command.find("access")
        response = command.get("response")
        facts[path] = command.get("name")
        facts[f"{path}.conformance"] = conformance(command)
        facts |= field_facts(path, command)
        if not is_response:
            assert access is not None
            facts[f"{path}.response"] = None if response in ("Y", "N") else response
            facts[f"{path}.access"] = PRIVILEGES[access.get("invokePrivilege", "")]
            facts[f"{path}.timed"] = flag(access, "timed")
            facts[f"{path}.scoped"] = flag(access, "fabricScoped")
    for event in body.findall("events/event"):
        path = f"event {int(event.get('id', ''), 0):02X}"
        access = event.find("access")
        assert access is not None
        facts[path] = event.get("name")
        facts[f"{path}.access"] = PRIVILEGES[access.get("readPrivilege", "")]
        facts[f"{path}.priority"] = event.get("priority")
        facts[f"{path}.sensitive"] = flag(access, "fabricSensitive")
        facts[f"{path}.conformance"] = conformance(event)
        facts |= field_facts(path, event)
    bodies = [root] if base is None else [root, base]
    for types in (part for body in bodies for part in body.findall("dataTypes")):
        for enum in types.findall("enum"):
            facts[f"enum {enum.get('name')}"] = True
            for item in enum.findall("item"):
                value = int(item.get("value", ""), 0)
                facts[f"enum {enum.get('name')}.{value:#x}"] = item.get("name")
        for bitmap in types.findall("bitmap"):
            facts[f"bitmap {bitmap.get('name')}"] = True
            for bit in bitmap.findall("bitfield"):
                mask = 1 << int(bit.get("bit", ""))
                facts[f"bitmap {bitmap.get('name')}.{mask:#x}"] = bit.get("name")
        for struct in types.findall("struct"):
            path = f"struct {struct.get('name')}"
            facts[path] = flag(struct.find("access"), "fabricScoped")
            facts |= field_facts(path, struct)
    return facts


def read(file: Path) -> tuple[str, ET.Element]:
    root = ET.parse(file).getroot()
    identity = root.find("clusterIds/clusterId")
    assert identity is not None
    return identity.get("name", ""), root


@cache
def read_data_model(folder: Path) -> dict[str, Facts]:
    """Return the facts of all clusters in a folder of the data model, by name."""
    roots = dict(read(file) for file in sorted(folder.glob("*.xml")))
    models = {}
    for name, root in roots.items():
        classification = root.find("classification")
        assert classification is not None
        base = classification.get("baseCluster")
        if base is None and name in ("Label", "Mode Base"):
            continue
        models[name] = data_model_facts(root, roots[base] if base else None)
    return models
