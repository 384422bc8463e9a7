"""What the control API offers, and the schemas of its answers."""

from __future__ import annotations

from typing import Final

from evse_node.node.control.api import JsonObject, JsonValue, Operation, Parameter

UID: Final = Parameter(
    "uid",
    "string",
    "the card's UID, 1 to 10 bytes as hexadecimal digits",
    is_required=True,
    pattern="^([0-9A-Fa-f]{2}){1,10}$",
)
FAULT: Final = Parameter(
    "name",
    "string",
    "a fault of the cluster's FaultStateEnum, like OverTemperature",
    is_required=True,
    pattern="^[A-Za-z]+$",
)
SOC: Final = Parameter(
    "soc_percent", "integer", "the state of charge in percent", minimum=0, maximum=100
)
CAPACITY: Final = Parameter(
    "capacity_mwh", "integer", "the battery's capacity in mWh", minimum=1, maximum=10**12
)
CURRENT: Final = Parameter(
    "current_ma",
    "integer",
    "what the hot hardware can bear in mA; left out when it has cooled down",
    minimum=0,
    maximum=80_000,
)
WATTS: Final = Parameter(
    "watts",
    "integer",
    "the power in watts that is left over for charging, what already goes there included",
    is_required=True,
    minimum=0,
    maximum=1_000_000,
)
SECONDS: Final = Parameter(
    "seconds",
    "integer",
    "how long it holds; until the next one when left out",
    minimum=1,
    maximum=86_400,
)
CELSIUS: Final = Parameter(
    "celsius", "integer", "degrees Celsius", is_required=True, minimum=-40, maximum=150
)

OPERATIONS: Final = (
    Operation("GET", "/status", "What the charger and the node do now.", "Status"),
    Operation("GET", "/onboarding", "The codes to commission the node with.", "Onboarding"),
    Operation(
        "GET",
        "/events",
        "Server-sent events: `status` at once and after every change, with the data of /status.",
        "Events",
        media_type="text/event-stream",
    ),
    Operation("GET", "/openapi.json", "This description.", "OpenApi"),
    Operation(
        "POST",
        "/factory-reset",
        "Open the contactor, forget all fabrics and settings, and start anew.",
        "Done",
    ),
    Operation(
        "POST",
        "/surplus",
        "Tell the charger what the sun leaves over; a mode with solar charging follows it.",
        "Status",
        parameters=(WATTS, SECONDS),
    ),
    Operation(
        "POST",
        "/clear-faults",
        "Clear the faults that were seen to. One whose cause is still there stays.",
        "Status",
    ),
    Operation("POST", "/sim/plug-in", "Plug the simulated car in.", "Status", is_simulation=True),
    Operation("POST", "/sim/unplug", "Unplug the simulated car.", "Status", is_simulation=True),
    Operation("POST", "/sim/demand", "The car asks for energy.", "Status", is_simulation=True),
    Operation("POST", "/sim/no-demand", "The car wants no energy.", "Status", is_simulation=True),
    Operation(
        "POST",
        "/sim/tap",
        "Hold a card to the RFID reader.",
        "Status",
        parameters=(UID,),
        is_simulation=True,
    ),
    Operation(
        "POST",
        "/sim/fault",
        "Make the hardware report a fault.",
        "Status",
        parameters=(FAULT,),
        is_simulation=True,
    ),
    Operation(
        "POST",
        "/sim/clear-fault",
        "Make the hardware's faults go away.",
        "Status",
        is_simulation=True,
    ),
    Operation(
        "POST",
        "/sim/battery",
        "Give the car another battery or state of charge.",
        "Status",
        parameters=(SOC, CAPACITY),
        is_simulation=True,
    ),
    Operation(
        "POST",
        "/sim/temperature",
        "Give the simulated board another temperature.",
        "Status",
        parameters=(CELSIUS,),
        is_simulation=True,
    ),
    Operation(
        "POST",
        "/sim/surplus",
        "Let the sun shine on the simulated house.",
        "Status",
        parameters=(WATTS,),
        is_simulation=True,
    ),
    Operation(
        "POST",
        "/sim/derate",
        "Let the hardware get hot, so that it bears less current.",
        "Status",
        parameters=(CURRENT,),
        is_simulation=True,
    ),
)


def _object(properties: JsonObject, description: str = "") -> JsonObject:
    schema: dict[str, JsonValue] = {
        "type": "object",
        "required": list(properties),
        "properties": properties,
    }
    return {"description": description, **schema} if description else schema


def _nullable(schema: JsonObject) -> JsonObject:
    return {"oneOf": [schema, {"type": "null"}]}


_STRING: Final[JsonObject] = {"type": "string"}
_INTEGER: Final[JsonObject] = {"type": "integer"}
_BOOLEAN: Final[JsonObject] = {"type": "boolean"}
_OPTIONAL_INTEGER: Final[JsonObject] = {"type": ["integer", "null"]}
_OPTIONAL_STRING: Final[JsonObject] = {"type": ["string", "null"]}
_STRINGS: Final[JsonObject] = {"type": "array", "items": _STRING}
_CLAIMS: Final[JsonObject] = {
    "type": "object",
    "description": "What each source allows, in milliamperes; the lowest counts.",
    "additionalProperties": _INTEGER,
}


def _ref(name: str) -> JsonObject:
    return {"$ref": f"#/components/schemas/{name}"}


SCHEMAS: Final[JsonObject] = {
    "Error": _object({"error": _object({"code": _STRING, "message": _STRING})}),
    "Done": _object({"done": _BOOLEAN}),
    "OpenApi": {"type": "object"},
    "Events": {"type": "string", "description": "Lines of `id`, `event` and `data`."},
    "Onboarding": _object(
        {
            "qr_code": _STRING,
            "manual_code": _STRING,
            "passcode": _INTEGER,
            "discriminator": _INTEGER,
            "vendor_id": _INTEGER,
            "product_id": _INTEGER,
        }
    ),
    "Status": _object(
        {
            "charger": _ref("Charger"),
            "simulation": _nullable(_ref("Simulation")),
            "node": _ref("Node"),
        }
    ),
    "Simulation": {
        "description": "How board and car are; null with real hardware. Units are in the names.",
        "type": "object",
        "additionalProperties": {"type": ["boolean", "integer", "number", "string", "null"]},
    },
    "Charger": _object(
        {
            "state": {"type": "string", "description": "Name in the cluster's StateEnum."},
            "supply_state": {"type": "string", "description": "Name in SupplyStateEnum."},
            "fault": {"type": "string", "description": "Name in FaultStateEnum."},
            "faults": _STRINGS,
            "control_pilot": _OPTIONAL_STRING,
            "pilot_output": _STRING,
            "offered_ma": _INTEGER,
            "contactor": {"enum": ["open", "closing", "closed", "opening"]},
            "is_locked": _BOOLEAN,
            "is_held": {"type": "boolean", "description": "A schedule puts charging off."},
            "is_card_awaited": {"type": "boolean", "description": "No card was shown yet."},
            "charging_enabled": _BOOLEAN,
            "discharging_enabled": _BOOLEAN,
            "charge_limit_ma": _INTEGER,
            "charge_limit_source": _OPTIONAL_STRING,
            "charge_limits_ma": _CLAIMS,
            "discharge_limits_ma": _CLAIMS,
            "vehicle": _object(
                {
                    "state_of_charge_percent": _OPTIONAL_INTEGER,
                    "battery_capacity_mwh": _OPTIONAL_INTEGER,
                    "id": _OPTIONAL_STRING,
                }
            ),
            "next_charge": _object(
                {
                    "start_utc_s": _OPTIONAL_INTEGER,
                    "target_utc_s": _OPTIONAL_INTEGER,
                    "required_energy_mwh": _OPTIONAL_INTEGER,
                    "target_soc_percent": _OPTIONAL_INTEGER,
                    "is_met": _BOOLEAN,
                },
                "What the next charging target asks for; UTC in seconds since 1970.",
            ),
            "session": _nullable(
                _object(
                    {
                        "id": _INTEGER,
                        "is_active": _BOOLEAN,
                        "duration_s": _INTEGER,
                        "energy_charged_mwh": _INTEGER,
                        "energy_discharged_mwh": _INTEGER,
                        "range_charged_km": _OPTIONAL_INTEGER,
                    }
                )
            ),
        },
        "The charger's state. Currents in mA, energy in mWh.",
    ),
    "Node": _object(
        {
            "version": _STRING,
            "backend": _STRING,
            "storage": _STRING,
            "port": _INTEGER,
            "host": _STRING,
            "interfaces": _STRINGS,
            "commissioning_window": {"enum": ["closed", "basic", "enhanced"]},
            "fabrics": {
                "type": "array",
                "items": _object(
                    {
                        "index": _INTEGER,
                        "label": _STRING,
                        "vendor_id": _INTEGER,
                        "fabric_id": _STRING,
                        "node_id": _STRING,
                    }
                ),
            },
        }
    ),
}
