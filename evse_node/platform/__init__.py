"""Linux and the network: DNS-SD, interfaces, storage, time, systemd."""
