// Drives matter.js's controller. Usage: node matter_js.mjs STORAGE. Requests and replies are
// JSON lines on standard input and output, as in rpc.py.
import { createInterface } from "node:readline";
import { Environment, Logger, Seconds, ServerNode } from "@matter/main";
import { AdministratorCommissioning } from "@matter/main/clusters/administrator-commissioning";
import { EnergyEvse } from "@matter/main/clusters/energy-evse";
import { Invoke, Read, Subscribe } from "@matter/main/protocol";
import { DiscoveryCapabilitiesSchema, ManualPairingCodeCodec } from "@matter/main/types";
import { PaseClient } from "@matter/main/protocol";

const [storage] = process.argv.slice(2);
const reply = message => process.stdout.write(JSON.stringify(message, toPlain) + "\n");
Logger.level = process.env.MATTER_JS_LOG ?? "warn";
Logger.destinations.default.write = text => process.stderr.write(text + "\n");

// matter.js counts epoch-s values from 1970.
const MATTER_EPOCH_S = 946684800;

function toPlain(_key, value) {
    if (typeof value === "bigint") return Number(value);
    if (value instanceof Uint8Array) return Buffer.from(value).toString("hex");
    return value;
}

class Waiter {
    attributes = new Map();
    events = [];
    #changed = new Set();

    notify() {
        for (const resolve of this.#changed) resolve();
        this.#changed.clear();
    }

    async report(result) {
        for await (const chunk of result) {
            for await (const entry of chunk) {
                if (entry.kind === "attr-value") {
                    const { endpointId, clusterId, attributeId } = entry.path;
                    this.attributes.set(`${endpointId}/${clusterId}/${attributeId}`, entry.value);
                } else if (entry.kind === "event-value") {
                    const { endpointId, clusterId, eventId } = entry.path;
                    const number = Number(entry.number);
                    if (!this.events.some(known => known.number === number)) {
                        this.events.push({ endpoint: endpointId, cluster: clusterId, event: eventId, number, data: entry.value });
                    }
                }
            }
        }
        this.notify();
    }

    async until(found, timeout, what) {
        const deadline = Date.now() + timeout * 1000;
        for (;;) {
            const value = found();
            if (value !== undefined) return value;
            const left = deadline - Date.now();
            if (left <= 0) throw new Error(`${what} did not come within ${timeout} s`);
            await new Promise(resolve => {
                const timer = setTimeout(resolve, left);
                this.#changed.add(() => {
                    clearTimeout(timer);
                    resolve();
                });
            });
        }
    }
}

// Without the flag matter.js leaves out what it read before.
const everything = () => ({ ...Read(Read.Attribute({})), includeKnownVersions: true });

const controllers = new Map();
const waiters = new Map();

async function controller(fabric) {
    if (!controllers.has(fabric)) {
        const environment = new Environment(`fabric${fabric}`, Environment.default);
        environment.vars.set("storage.path", `${storage}/fabric${fabric}`);
        const node = await ServerNode.create({
            environment,
            id: `controller${fabric}`,
            network: { port: 5640 + fabric, ble: false },
            controller: { adminFabricLabel: `fabric${fabric}`, adminFabricId: BigInt(fabric) },
            commissioning: { enabled: false },
        });
        await node.start();
        controllers.set(fabric, node);
    }
    return controllers.get(fabric);
}

const peers = new Map();
const peer = async fabric => peers.get(fabric);

async function invoke(fabric, endpoint, cluster, command, fields, timed) {
    const node = await peer(fabric);
    const options = timed ? { timed: true, timeout: Seconds(3) } : {};
    const results = [];
    for await (const chunk of node.interaction.invoke(
        Invoke({ ...options, commands: [Invoke.ConcreteCommandRequest({ endpoint, cluster, command, fields })] }),
    )) {
        for (const entry of chunk) results.push(entry);
    }
    for (const entry of results) {
        if (entry.kind === "cmd-status" && entry.status !== 0) {
            throw new Error(`${command} answered with status ${entry.status}`);
        }
    }
    return results[0]?.data;
}

const methods = {
    async commission({ code, fabric = 1 }) {
        const node = await controller(fabric);
        const device = await node.peers.commission({ pairingCode: code, autoSubscribe: false });
        peers.set(fabric, device);
        return Number(device.peerAddress.nodeId);
    },

    async read_all({ fabric = 1 }) {
        const waiter = new Waiter();
        const node = await peer(fabric);
        await waiter.report(node.interaction.read(everything()));
        return Object.fromEntries(waiter.attributes);
    },

    async subscribe({ fabric = 1, max_interval = 30 }) {
        const waiter = new Waiter();
        waiters.set(fabric, waiter);
        const node = await peer(fabric);
        const request = Subscribe(
            {
                keepSubscriptions: true,
                minIntervalFloor: Seconds(0),
                maxIntervalCeiling: Seconds(max_interval),
            },
            Read.Attribute({}),
            Read.Event({}),
        );
        await waiter.report(node.interaction.read(everything()));
        let established;
        const first = new Promise(resolve => (established = resolve));
        await node.interaction.subscribe({
            ...request,
            sustain: true,
            updated: async data => {
                await waiter.report(data);
                established();
            },
        });
        await first;
        return { attributes: waiter.attributes.size };
    },

    async wait_attribute({ fabric = 1, path, timeout, equals = null, above = null }) {
        const { attributes } = waiters.get(fabric);
        const found = () => {
            const value = attributes.get(path);
            if (above !== null) return value != null && value > above ? { value } : undefined;
            return attributes.has(path) && (value ?? null) === equals ? { value } : undefined;
        };
        const { value } = await waiters.get(fabric).until(found, timeout, `attribute ${path}`);
        return value ?? null;
    },

    async wait_event({ fabric = 1, cluster, event, timeout, after = -1 }) {
        const waiter = waiters.get(fabric);
        const found = () =>
            waiter.events.find(known => known.cluster === cluster && known.event === event && known.number > after);
        return waiter.until(found, timeout, `event ${cluster}/${event}`);
    },

    async enable_charging({ fabric = 1, until, minimum, maximum }) {
        await invoke(
            fabric,
            1,
            EnergyEvse,
            "enableCharging",
            {
                chargingEnabledUntil: until === null ? null : until + MATTER_EPOCH_S,
                minimumChargeCurrent: minimum,
                maximumChargeCurrent: maximum,
            },
            true,
        );
        return null;
    },

    async disable({ fabric = 1 }) {
        await invoke(fabric, 1, EnergyEvse, "disable", undefined, true);
        return null;
    },

    async open_window({ fabric = 1 }) {
        const { crypto } = await import("node:crypto").then(module => ({ crypto: module.webcrypto }));
        const node = await controller(fabric);
        const salt = crypto.getRandomValues(new Uint8Array(32));
        const passcode = 20000000 + (crypto.getRandomValues(new Uint32Array(1))[0] % 7000000);
        const discriminator = 2222;
        const { Crypto } = await import("@matter/main");
        const pakePasscodeVerifier = await PaseClient.generatePakePasscodeVerifier(
            node.env.get(Crypto),
            passcode,
            { iterations: 1000, salt },
        );
        await invoke(
            fabric,
            0,
            AdministratorCommissioning,
            "openCommissioningWindow",
            { commissioningTimeout: 300, pakePasscodeVerifier, discriminator, iterations: 1000, salt },
            true,
        );
        return ManualPairingCodeCodec.encode({ discriminator, passcode });
    },

    async remove_fabric({ fabric }) {
        await (await peer(fabric)).decommission();
        return null;
    },
};

for await (const line of createInterface({ input: process.stdin })) {
    const { do: method, ...args } = JSON.parse(line);
    try {
        reply({ ok: (await methods[method](args)) ?? null });
    } catch (error) {
        process.stderr.write(`${error.stack ?? error}\n${error.cause?.stack ?? ""}\n`);
        reply({ error: String(error) });
    }
}
for (const node of controllers.values()) await node.close();
process.exit(0);
