// A matter.js EVSE device with stub behaviour: the reference that the benchmark alternates with.
// Usage: node evse-device.mjs STORAGE PORT DISCRIMINATOR PASSCODE ATTESTATION
// ATTESTATION is a JSON file with key, dac, pai and declaration in hexadecimal.
import { readFileSync } from "node:fs";
import { Endpoint, Environment, Logger, ServerNode, VendorId } from "@matter/main";
import { EnergyEvseServer } from "@matter/main/behaviors/energy-evse";
import { EnergyEvseModeServer } from "@matter/main/behaviors/energy-evse-mode";
import { EnergyEvse } from "@matter/main/clusters/energy-evse";
import { EnergyEvseMode } from "@matter/main/clusters/energy-evse-mode";
import { EnergyEvseDevice } from "@matter/main/devices/energy-evse";

const [storage, port, discriminator, passcode, attestation] = process.argv.slice(2);
Logger.level = "fatal";
Environment.default.vars.set("storage.path", storage);

// matter.js counts epoch-s values from 1970; this is 2000-01-01.
const MATTER_EPOCH_S = 946684800;
const { State, SupplyState, FaultState } = EnergyEvse;

class StubEvse extends EnergyEvseServer.with("ChargingPreferences") {
    enableCharging({ chargingEnabledUntil, minimumChargeCurrent, maximumChargeCurrent }) {
        this.state.supplyState = SupplyState.ChargingEnabled;
        this.state.chargingEnabledUntil = chargingEnabledUntil;
        this.state.minimumChargeCurrent = minimumChargeCurrent;
        this.state.maximumChargeCurrent = maximumChargeCurrent;
    }
    disable() {
        this.state.supplyState = SupplyState.Disabled;
        this.state.chargingEnabledUntil = MATTER_EPOCH_S;
        this.state.minimumChargeCurrent = 0;
        this.state.maximumChargeCurrent = 0;
    }
    setTargets() {}
    getTargets() {
        return { chargingTargetSchedules: [] };
    }
    clearTargets() {}
}

const credentials = JSON.parse(readFileSync(attestation, "utf8"));
const bytesOf = name => Uint8Array.from(Buffer.from(credentials[name], "hex"));

const server = await ServerNode.create({
    id: "evse",
    network: { port: Number(port), ble: false },
    commissioning: { passcode: Number(passcode), discriminator: Number(discriminator) },
    productDescription: { name: "EVSE", deviceType: EnergyEvseDevice.deviceType },
    operationalCredentials: {
        certification: {
            privateKey: bytesOf("key"),
            certificate: bytesOf("dac"),
            intermediateCertificate: bytesOf("pai"),
            declaration: bytesOf("declaration"),
        },
    },
    basicInformation: { vendorId: VendorId(0xfff1), productId: 0x8001, vendorName: "Bench", productName: "EVSE" },
});
await server.add(
    new Endpoint(EnergyEvseDevice.with(StubEvse, EnergyEvseModeServer), {
        id: "evse",
        energyEvse: {
            state: State.NotPluggedIn,
            supplyState: SupplyState.Disabled,
            faultState: FaultState.NoError,
            chargingEnabledUntil: MATTER_EPOCH_S,
            circuitCapacity: 32000,
            minimumChargeCurrent: 6000,
            maximumChargeCurrent: 0,
            userMaximumChargeCurrent: 32000,
            nextChargeStartTime: null,
            nextChargeTargetTime: null,
            nextChargeRequiredEnergy: null,
            nextChargeTargetSoC: null,
            sessionId: null,
            sessionDuration: null,
            sessionEnergyCharged: null,
        },
        energyEvseMode: {
            supportedModes: [
                { label: "Manual", mode: 0, modeTags: [{ value: EnergyEvseMode.ModeTag.Manual }] },
                { label: "Scheduled", mode: 1, modeTags: [{ value: EnergyEvseMode.ModeTag.TimeOfUse }] },
            ],
            currentMode: 0,
        },
    }),
);
process.on("SIGTERM", () => server.close().then(() => process.exit(0)));
await server.run();
