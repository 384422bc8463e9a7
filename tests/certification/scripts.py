"""The SDK's Python scripts and YAML suites that apply to this node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

ENABLE_KEY = "000102030405060708090a0b0c0d0e0f"
# The default key of the YAML suites.
SUITE_ENABLE_KEY = "00112233445566778899aabbccddeeff"
LONG = "long"
WITH_KEY = ("--hex-arg", f"enableKey:{ENABLE_KEY}")
ON_ROOT = ("--endpoint", "0")
ON_EVSE = ("--endpoint", "1")
CHARGER = (*ON_EVSE, *WITH_KEY)
# The runner replaces {pics}, {sdk} and {qr}.
WITH_PICS = ("--PICS", "{pics}")
# The folder of the YAML suites in the SDK.
SUITES = "src/app/tests/suites/certification"


class Kind(StrEnum):
    """Runner of a script: the SDK's test runner for Python, or its driver for YAML suites."""

    PYTHON = "python"
    YAML = "yaml"


@dataclass(frozen=True, slots=True)
class Script:
    """Script or suite; one row of the table of results.

    `name` is the file name without suffix; `variant` distinguishes several runs of it.
    `pics_endpoint` limits the node's PICS to one endpoint; `is_pure_pics` omits the lines
    that declare an automated test. `suite_config` holds the values of a suite's configuration
    that describe the device under test. `pics` are lines that override the node's own,
    `timeout_s` is a minimum timeout. `cannot` is the reason why it cannot run at all.
    """

    name: str
    arguments: tuple[str, ...] = ()
    node_options: tuple[str, ...] = ()
    group: str = "core"
    kind: Kind = Kind.PYTHON
    variant: str = ""
    is_commissioning: bool = True
    pics_endpoint: int | None = None
    is_pure_pics: bool = False
    enable_key: str = ENABLE_KEY
    suite_config: Mapping[str, str] = field(default_factory=dict, hash=False)
    pics: str = ""
    timeout_s: float = 0
    cannot: str = ""

    @property
    def title(self) -> str:
        """Return name and variant."""
        return f"{self.name} ({self.variant})" if self.variant else self.name


def _group(
    group: str,
    *names: str,
    arguments: tuple[str, ...] = (),
    node_options: tuple[str, ...] = (),
) -> list[Script]:
    return [Script(name, arguments, node_options, group) for name in names]


def _suites(
    *names: str, options: tuple[str, ...] = (), config: Mapping[str, str] | None = None
) -> list[Script]:
    return [
        Script(
            f"Test_TC_{name}",
            (),
            options,
            "yaml",
            Kind.YAML,
            enable_key=SUITE_ENABLE_KEY,
            suite_config=config or {},
        )
        for name in names
    ]


# Device Energy Management with power adjustment, and with scheduling.
_ADJUSTABLE = ("--dem-features", "0x7B")
_SCHEDULABLE = ("--dem-features", "0x7C")
# The parts of Matter 1.3 that are not provisional.
_STRICT = ("--features", "RFID", "--dem-features", "none")
_V1_4_2 = ("--matter-version", "1.4.2")
_PROVISIONAL = ("--bool-arg", "allow_provisional:true")
_NO_BATCH = (
    "the controller packages of PyPI do not have the entry that sends several commands at once"
)

# A test event trigger without effect.
_NO_TRIGGER = {"TEST_EVENT_TRIGGER_KEY": '"0xFFFFFFFFFFF10000"'}

_ENERGY = (
    *_group(
        "energy",
        *("TC_EEVSE_2_2", "TC_EEVSE_2_3", "TC_EEVSE_2_4", "TC_EEVSE_2_5", "TC_EEVSE_2_6"),
        *("TC_EEVSE_2_7", "TC_EEM_2_2", "TC_EEM_2_3", "TC_EEM_2_4", "TC_EEM_2_5"),
        arguments=CHARGER,
    ),
    *_group(
        "energy",
        *("TC_EEVSEM_1_2", "TC_DEMM_1_2", "TC_EPM_2_1", "TC_PWRTL_2_1", "TC_PS_2_3"),
        arguments=ON_EVSE,
    ),
    *_group("energy", "TC_EEM_2_1", "TC_EPM_2_2", arguments=(*CHARGER, *WITH_PICS)),
    *_group("energy", "TC_DEM_2_1", arguments=(*CHARGER, *WITH_PICS), node_options=_ADJUSTABLE),
    *_group(
        "energy",
        *("TC_DEM_2_2", "TC_DEM_2_3", "TC_DEM_2_4", "TC_DEM_2_5", "TC_DEM_2_7", "TC_DEM_2_9"),
        "TC_DEM_2_10",
        arguments=CHARGER,
        node_options=_ADJUSTABLE,
    ),
    *_group("energy", "TC_DEM_2_6", "TC_DEM_2_8", arguments=CHARGER, node_options=_SCHEDULABLE),
    *(
        Script(name, CHARGER, _SCHEDULABLE, "energy", variant="0x7C")
        for name in ("TC_DEM_2_3", "TC_DEM_2_4", "TC_DEM_2_9", "TC_DEM_2_10")
    ),
)

_REVISIONS = (
    ("1.3 strict", (), _STRICT),
    ("1.3 all features", _PROVISIONAL, ()),
    ("1.4.2 strict", (), (*_V1_4_2, "--features", "PREF,RFID")),
    ("1.4.2 all features", _PROVISIONAL, _V1_4_2),
)

_WHOLE_NODE = (
    *(
        Script(name, arguments, options, variant=variant)
        for name in ("TC_DeviceBasicComposition", "TC_DeviceConformance")
        for variant, arguments, options in _REVISIONS
    ),
    *_group("core", "TC_AccessChecker", arguments=("--timeout", "600")),
    *_group(
        "core",
        "TC_DefaultWarnings",
        arguments=("--bool-arg", "pixit_allow_default_vendor_id:true"),
    ),
    *_group("core", "TC_TestEventTrigger", "TestInvokeReturnCodes", "TestWriteReadOnlyAttributes"),
    *(
        Script(
            "TC_pics_checker",
            ("--endpoint", str(endpoint), *WITH_PICS),
            options,
            variant=f"{version}, endpoint {endpoint}",
            pics_endpoint=endpoint,
            is_pure_pics=True,
        )
        for version, options in (("1.3", ()), ("1.4.2", _V1_4_2))
        for endpoint in (0, 1)
    ),
)

_ACE_1_4 = (
    *("--int-arg", "PIXIT.ACE.APPENDPOINT:1", "PIXIT.ACE.APPDEVTYPEID:0x050C"),
    *("--string-arg", "PIXIT.ACE.APPCLUSTER:EnergyEvse", "PIXIT.ACE.APPATTRIBUTE:SupplyState"),
)

_INTERACTION = (
    Script("TC_IDM_1_2", cannot=_NO_BATCH),
    Script("TC_IDM_1_4", cannot=_NO_BATCH),
    *_group("core", "TC_IDM_4_2", "TC_SC_3_4"),
    *_group(
        "core",
        "TC_SC_3_6",
        arguments=("--timeout", "600", "--int-arg", "timeout_delay_sec:60"),
    ),
    *_group(
        "core",
        "TC_RR_1_1",
        arguments=("--timeout", "1200", "--int-arg", "timeout_delay_sec:60"),
    ),
    *_group("core", "TC_SC_4_3", arguments=WITH_PICS),
    Script(
        "TC_SC_7_1",
        ("--bool-arg", "post_cert_test:true", "--qr-code", "{qr}"),
        is_commissioning=False,
    ),
    *_group("core", "TC_ACE_1_2", "TC_ACE_1_3", "TC_ACL_2_2"),
    *_group("core", "TC_ACE_1_4", arguments=_ACE_1_4),
    *_group("core", "TC_ACE_1_5", arguments=WITH_PICS),
    *_group(
        "core",
        *("TC_ACL_2_3", "TC_ACL_2_4", "TC_ACL_2_5", "TC_ACL_2_6", "TC_ACL_2_7", "TC_ACL_2_8"),
    ),
)

_COMMISSIONING = (
    *_group(
        "core",
        "TC_CGEN_2_2",
        arguments=(
            *("--int-arg", "PIXIT.CGEN.FailsafeExpiryLengthSeconds:1"),
            *(*WITH_PICS, "--timeout", "300"),
        ),
    ),
    *_group("core", "TC_CGEN_2_4"),
    *_group("core", "TC_CADMIN_1_3_4", arguments=(*ON_ROOT, "--timeout", "600")),
    # Without --timeout: step 4 expects to be cancelled, as it is by the default of
    # 90 seconds after the script slept for 190; an error of the controller fails it.
    *_group("core", "TC_CADMIN_1_5", arguments=WITH_PICS),
    *_group("core", "TC_CADMIN_1_9", "TC_CADMIN_1_15", arguments=(*WITH_PICS, "--timeout", "300")),
    *_group("core", "TC_CADMIN_1_11", "TC_CADMIN_1_22", "TC_CADMIN_1_25", arguments=WITH_PICS),
    *_group("core", "TC_CADMIN_1_19", arguments=(*WITH_PICS, "--timeout", "600")),
    *_group("core", "TC_OPCREDS_3_1", arguments=(*WITH_PICS, "--timeout", "300")),
    *_group(
        "core",
        *("TC_OPCREDS_3_2", "TC_OPCREDS_3_4", "TC_OPCREDS_3_5", "TC_DA_1_5"),
        arguments=WITH_PICS,
    ),
    *_group(
        "core",
        "TC_DA_1_2",
        arguments=(
            *WITH_PICS,
            *("--string-arg", "cd_cert_dir:{sdk}/credentials/development/cd-certs"),
        ),
    ),
    *_group("core", "TC_DA_1_7", arguments=("--bool-arg", "allow_sdk_dac:true")),
)

_ROOT_CLUSTERS = (
    *_group("core", "TC_DGGEN_2_4", "TC_DGGEN_3_2"),
    *_group("core", "TC_CNET_1_4", arguments=WITH_PICS),
    *_group("core", "TC_CNET_4_3", arguments=ON_ROOT),
)

_OPTIONAL = (
    *_group("optional", "TC_TIMESYNC_2_1", arguments=(*ON_ROOT, *WITH_PICS)),
    *_group(
        "optional",
        *("TC_TIMESYNC_2_2", "TC_TIMESYNC_2_4", "TC_TIMESYNC_2_5", "TC_TIMESYNC_2_6"),
        *("TC_TIMESYNC_2_7", "TC_TIMESYNC_2_8", "TC_TIMESYNC_2_9", "TC_TIMESYNC_2_10"),
        *("TC_TIMESYNC_2_11", "TC_TIMESYNC_2_12", "TC_TIMESYNC_2_13"),
        arguments=WITH_PICS,
    ),
    *_group("optional", "TC_TIMESYNC_3_1"),
    *_group("optional", "TC_LCFG_2_1", "TC_LUNIT_3_1", arguments=ON_ROOT),
    *_group("optional", "TC_LTIME_3_1", arguments=(*ON_ROOT, *WITH_PICS)),
    *_group("optional", "TC_FLABEL_2_1", "TC_TMP_2_1", arguments=ON_EVSE),
    *_group("optional", "TC_I_2_4", arguments=(*ON_EVSE, *WITH_PICS)),
)

_YAML = (
    # It accepts only null, which is "without end", for the times until which charging is enabled.
    *_suites("EEVSE_2_1", options=("--charging", "enabled", "--features", "PREF,SOC,PNC,RFID")),
    # Only the node.
    *_suites("PS_2_1", "ACE_1_1", "ACL_2_1", "CGEN_2_1"),
    *_suites("DGGEN_2_3", "DGGEN_3_1", "GRPKEY_2_1"),
    # With prompts, disabled by the PICS.
    *_suites("EEVSEM_2_1", "DEMM_2_1", "GRPKEY_2_2"),
    *_suites("SC_4_1", config={"deviceType": str(0x050C)}),
    # With restarts and resets of the node.
    *_suites("ACL_2_9", "ACL_2_10", "BINFO_2_2", "DGETH_2_1", "DGETH_2_2"),
    *(
        replace(suite, variant="without waits of hours", pics="DGGEN.S.A0003=0\n")
        for suite in _suites("DGGEN_2_1", config=_NO_TRIGGER)
    ),
    *_suites("BINFO_2_1", options=_V1_4_2),
    # Optional clusters.
    *_suites("I_2_1", "I_2_2", "I_2_3", "ULABEL_2_1", "ULABEL_2_2", "ULABEL_2_3", "ULABEL_2_4"),
    *_suites("TIMESYNC_2_3", "TMP_2_2"),
)

# More than three hours, during which the node counts its operational hours.
_LONG = tuple(
    replace(suite, group=LONG, timeout_s=15_000)
    for suite in _suites("DGGEN_2_1", config=_NO_TRIGGER)
)

SCRIPTS: tuple[Script, ...] = (
    *_WHOLE_NODE,
    *_INTERACTION,
    *_COMMISSIONING,
    *_ROOT_CLUSTERS,
    *_ENERGY,
    *_OPTIONAL,
    *_YAML,
    *_LONG,
)


def missing(sdk: Path, chosen: list[Script]) -> str:
    """Return an error for the first chosen script that the SDK lacks, or an empty string."""
    scripts, suites = sdk / "src/python_testing", sdk / SUITES
    if not scripts.is_dir():
        return f"--sdk: '{sdk}' cannot be used: give the SDK's tree, with src/python_testing"
    for each in chosen:
        suite, script = suites / f"{each.name}.yaml", scripts / f"{each.name}.py"
        if not (suite if each.kind is Kind.YAML else script).exists() and not each.cannot:
            return f"{each.name} is no group, and no script that '{sdk}' has"
    return ""


def select(names: list[str]) -> list[Script]:
    """Return the scripts with these names or titles or of these groups.

    Without names, return all but those that take hours. A name that is not listed here is
    taken as a script without arguments.
    """
    if not names:
        return [each for each in SCRIPTS if each.group != LONG]
    chosen: list[Script] = []
    for name in names:
        found = [each for each in SCRIPTS if name in (each.name, each.title, each.group)]
        kind = Kind.YAML if name.startswith("Test_TC_") else Kind.PYTHON
        chosen += found or [Script(name, kind=kind)]
    return list(dict.fromkeys(chosen))
