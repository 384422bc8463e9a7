"""Which of the SDK's Python scripts apply to this node, and with which arguments."""

from __future__ import annotations

from dataclasses import dataclass

ENABLE_KEY = "000102030405060708090a0b0c0d0e0f"
WITH_KEY = ("--hex-arg", f"enableKey:{ENABLE_KEY}")
ON_EVSE = ("--endpoint", "1")
CHARGER = (*ON_EVSE, *WITH_KEY)
# {pics} and {sdk} stand for files that the runner knows.
WITH_PICS = ("--PICS", "{pics}")


@dataclass(frozen=True, slots=True)
class Script:
    """A script of src/python_testing: its name, its arguments, the node's options."""

    name: str
    arguments: tuple[str, ...] = ()
    node_options: tuple[str, ...] = ()
    group: str = "core"


def _energy(*names: str, arguments: tuple[str, ...] = CHARGER) -> list[Script]:
    return [Script(name, arguments, group="energy") for name in names]


def _core(*names: str, arguments: tuple[str, ...] = ()) -> list[Script]:
    return [Script(name, arguments) for name in names]


_ACE_1_4 = (
    *("--int-arg", "PIXIT.ACE.APPENDPOINT:1", "PIXIT.ACE.APPDEVTYPEID:0x050C"),
    *("--string-arg", "PIXIT.ACE.APPCLUSTER:EnergyEvse", "PIXIT.ACE.APPATTRIBUTE:SupplyState"),
)
_DM_PA = ("--dem-features", "PA,PFR,STA,PAU,FA,CON")
_DM_SFR = ("--dem-features", "SFR,STA,PAU,FA,CON")

SCRIPTS: tuple[Script, ...] = (
    # Energy.
    *_energy("TC_EEVSE_2_2", "TC_EEVSE_2_3", "TC_EEVSE_2_4", "TC_EEVSE_2_5", "TC_EEVSE_2_6"),
    *_energy("TC_EEVSE_2_7"),
    *_energy("TC_EEVSEM_1_2", "TC_DEMM_1_2", "TC_EPM_2_1", "TC_PWRTL_2_1", arguments=ON_EVSE),
    *_energy("TC_PS_2_3", arguments=ON_EVSE),
    *_energy("TC_EEM_2_1", "TC_EPM_2_2", "TC_DEM_2_1", arguments=(*CHARGER, *WITH_PICS)),
    *_energy("TC_EEM_2_2", "TC_EEM_2_3", "TC_EEM_2_4", "TC_EEM_2_5"),
    *_energy("TC_DEM_2_2", "TC_DEM_2_3", "TC_DEM_2_4", "TC_DEM_2_5", "TC_DEM_2_7", "TC_DEM_2_9"),
    *_energy("TC_DEM_2_10"),
    Script("TC_DEM_2_6", CHARGER, _DM_SFR, group="energy"),
    Script("TC_DEM_2_8", CHARGER, _DM_SFR, group="energy"),
    # The whole node.
    *_core("TC_DeviceBasicComposition"),
    *_core("TC_DeviceConformance", arguments=("--bool-arg", "allow_provisional:true")),
    *_core("TC_AccessChecker", arguments=("--timeout", "600")),
    *_core("TC_DefaultWarnings", arguments=("--bool-arg", "pixit_allow_default_vendor_id:true")),
    *_core("TC_TestEventTrigger", "TestInvokeReturnCodes", "TestWriteReadOnlyAttributes"),
    # Interaction model, sessions, access control.
    *_core("TC_IDM_4_2", "TC_SC_3_4"),
    *_core("TC_SC_3_6", arguments=("--timeout", "600", "--int-arg", "timeout_delay_sec:60")),
    *_core("TC_RR_1_1", arguments=("--timeout", "1200", "--int-arg", "timeout_delay_sec:60")),
    *_core("TC_SC_4_3", "TC_ACE_1_2", "TC_ACE_1_3", "TC_ACL_2_2"),
    *_core("TC_ACE_1_4", arguments=_ACE_1_4),
    *_core("TC_ACE_1_5", arguments=WITH_PICS),
    *_core("TC_ACL_2_3", "TC_ACL_2_4", "TC_ACL_2_5", "TC_ACL_2_6", "TC_ACL_2_7", "TC_ACL_2_8"),
    # Commissioning, credentials, administration.
    *_core(
        "TC_CGEN_2_2",
        arguments=("--int-arg", "PIXIT.CGEN.FailsafeExpiryLengthSeconds:1", *WITH_PICS),
    ),
    *_core("TC_CGEN_2_4"),
    *_core("TC_CADMIN_1_3_4", arguments=("--endpoint", "0", "--timeout", "600")),
    # Its fourth step is meant to be cut off by the default time limit.
    *_core("TC_CADMIN_1_5", arguments=WITH_PICS),
    *_core("TC_CADMIN_1_9", "TC_CADMIN_1_15", arguments=(*WITH_PICS, "--timeout", "300")),
    *_core("TC_CADMIN_1_11", "TC_CADMIN_1_22", "TC_CADMIN_1_25", arguments=WITH_PICS),
    *_core("TC_CADMIN_1_19", arguments=(*WITH_PICS, "--timeout", "600")),
    *_core("TC_OPCREDS_3_1", arguments=(*WITH_PICS, "--timeout", "300")),
    *_core("TC_OPCREDS_3_2", "TC_OPCREDS_3_4", "TC_OPCREDS_3_5", "TC_DA_1_5", arguments=WITH_PICS),
    *_core(
        "TC_DA_1_2",
        arguments=(
            *WITH_PICS,
            "--string-arg",
            "cd_cert_dir:{sdk}/credentials/development/cd-certs",
        ),
    ),
    *_core("TC_DA_1_7", arguments=("--bool-arg", "allow_sdk_dac:true")),
    # Root-node clusters.
    *_core("TC_DGGEN_2_4", "TC_DGGEN_3_2"),
    *_core("TC_CNET_1_4", arguments=WITH_PICS),
    *_core("TC_CNET_4_3", arguments=("--endpoint", "0")),
)


def select(names: list[str]) -> list[Script]:
    """Return the scripts with these names or of these groups; all of them for no names.

    A name that is not listed here is taken as a script that needs no arguments.
    """
    if not names:
        return list(SCRIPTS)
    known = {script.name: script for script in SCRIPTS}
    chosen: list[Script] = []
    for name in names:
        of_group = [script for script in SCRIPTS if script.group == name]
        chosen += of_group or [known.get(name) or Script(name)]
    return chosen
