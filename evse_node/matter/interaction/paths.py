"""Access to paths, and expansion of wildcards.

Privileges are bit masks, bit p for privilege p, and cached per session: the access
control list is checked once per (endpoint, cluster) until it changes.

Spec: Matter Core 1.3 "Path", "Path Expansion", "Access Control"
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol, TypeAlias

from msgspec import Struct, field

from evse_node.errors import StatusError
from evse_node.matter.data_model import (
    AttributeEntry,
    Cluster,
    Endpoint,
    EventPath,
    Node,
    Privilege,
    Subject,
)
from evse_node.matter.interaction.encoding import attribute_status_report, event_status_report
from evse_node.matter.interaction.messages import AttributeRequest, EventRequest
from evse_node.matter.interaction.status import Status
from evse_node.matter.messaging.session import SecureSession

_VIEW = 1 << Privilege.VIEW

ReportRun: TypeAlias = tuple[bytes, Sequence[int]]
"""Consecutive reports: their joined bytes, and the offset at which each one ends."""


class ComputedReport:
    """An attribute whose value is computed for each report; `start` precedes the value."""

    __slots__ = ("entry", "start")

    def __init__(self, entry: AttributeEntry, start: bytes) -> None:
        self.entry = entry
        self.start = start


class AccessGrants(Protocol):
    """The access control list; `generation` changes with it."""

    generation: int

    def granted(
        self, subject: Subject, endpoint: int, cluster: int, device_types: tuple[int, ...]
    ) -> int:
        """Return the privilege mask of a subject on a cluster instance."""
        ...


class ClusterView:
    """Attributes of one cluster instance that are reported together, by id.

    `pieces` is a cache of the encoded reports at data version `pieces_version`.
    """

    __slots__ = ("cluster", "endpoint_id", "entries", "pieces", "pieces_version")

    def __init__(
        self, endpoint_id: int, cluster: Cluster, entries: dict[int, AttributeEntry]
    ) -> None:
        self.endpoint_id = endpoint_id
        self.cluster = cluster
        self.entries = entries
        self.pieces: list[ReportRun | ComputedReport] = []
        self.pieces_version: int | None = None


class Access:
    """Privileges of sessions on the clusters of a node."""

    def __init__(self, node: Node, grants: AccessGrants) -> None:
        self.node = node
        self.grants = grants
        # Shared by all requesters with the same privileges: (endpoint, cluster, mask).
        self._views: dict[tuple[int, int, int], ClusterView] = {}

    def mask(self, session: SecureSession, endpoint_id: int, cluster_id: int) -> int:
        """Return the privilege mask of a session; the cluster need not exist."""
        masks = self.cache(session).masks
        key = (endpoint_id, cluster_id)
        mask = masks.get(key)
        if mask is None:
            endpoint = self.node.endpoints.get(endpoint_id)
            types = () if endpoint is None else tuple(each for each, _ in endpoint.device_types)
            mask = self.grants.granted(session.subject, endpoint_id, cluster_id, types)
            # Only for existing clusters, or a peer could fill the memory.
            if endpoint is not None and cluster_id in endpoint.clusters:
                masks[key] = mask
        return mask

    def cache(self, session: SecureSession) -> SessionCache:
        """Return a session's cache, an empty one after the access control list has changed."""
        generation = self.grants.generation
        cache = session.interaction_cache
        if not isinstance(cache, SessionCache) or cache.generation != generation:
            cache = session.interaction_cache = SessionCache(generation)
        return cache

    def find(
        self, session: SecureSession, endpoint_id: int, cluster_id: int
    ) -> tuple[Cluster, int]:
        """Return the cluster of a concrete path and the privilege mask on it.

        Raises StatusError when it does not exist, and UNSUPPORTED_ACCESS in either case
        when the subject lacks the View privilege.
        """
        mask = self.mask(session, endpoint_id, cluster_id)
        if not mask & _VIEW:
            raise StatusError(Status.UNSUPPORTED_ACCESS)
        endpoint = self.node.endpoints.get(endpoint_id)
        if endpoint is None:
            raise StatusError(Status.UNSUPPORTED_ENDPOINT)
        cluster = endpoint.clusters.get(cluster_id)
        if cluster is None:
            raise StatusError(Status.UNSUPPORTED_CLUSTER)
        return cluster, mask

    def view(self, endpoint_id: int, cluster: Cluster, mask: int) -> ClusterView:
        """Return all attributes of a cluster that are readable with these privileges."""
        key = (endpoint_id, cluster.id, mask)
        view = self._views.get(key)
        if view is None or view.cluster is not cluster:
            entries = {
                entry.id: entry
                for entry in cluster.attributes.values()
                if entry.read_privilege is not None and mask >> entry.read_privilege & 1
            }
            view = self._views[key] = ClusterView(endpoint_id, cluster, entries)
        return view


class AttributeExpansion(Struct):
    """The expansion of attribute requests: attributes by cluster instance, and statuses."""

    views: dict[tuple[int, int], ClusterView] = field(default_factory=dict)
    statuses: list[bytes] = field(default_factory=list)

    def add(self, view: ClusterView) -> None:
        """Add attributes; those of overlapping requests are reported once."""
        if not view.entries:
            return
        key = (view.endpoint_id, view.cluster.id)
        other = self.views.get(key)
        if other is not None and other is not view:
            view = ClusterView(view.endpoint_id, view.cluster, {**other.entries, **view.entries})
        self.views[key] = view


class SessionCache:
    """Results for a session since the access control list last changed.

    `masks` are the subject's privileges by (endpoint, cluster), `expansion` is the latest
    request with its expansion.
    """

    __slots__ = ("expansion", "generation", "masks")

    def __init__(self, generation: int) -> None:
        self.generation = generation
        self.masks: dict[tuple[int, int], int] = {}
        self.expansion: tuple[Sequence[AttributeRequest], AttributeExpansion] | None = None


def expand_attributes(
    access: Access, session: SecureSession, requests: Sequence[AttributeRequest]
) -> AttributeExpansion:
    """Expand requested paths. A concrete path that cannot be read becomes a status.

    The result is cached, since controllers repeat their requests; do not modify it.
    Spec: Matter Core 1.3 "Incoming Read Request Action Processing"
    """
    cache = access.cache(session)
    last = cache.expansion
    if last is not None and last[0] == requests:
        return last[1]
    expansion = _expand(access, session, requests)
    cache.expansion = (requests, expansion)
    return expansion


def _expand(
    access: Access, session: SecureSession, requests: Iterable[AttributeRequest]
) -> AttributeExpansion:
    expansion = AttributeExpansion()
    for request in requests:
        endpoint_id, cluster_id, attribute_id = request
        if endpoint_id is not None and cluster_id is not None and attribute_id is not None:
            try:
                cluster, mask = access.find(session, endpoint_id, cluster_id)
                entry = cluster.attributes.get(attribute_id)
                if entry is None:
                    raise StatusError(Status.UNSUPPORTED_ATTRIBUTE)
                if entry.read_privilege is None:
                    raise StatusError(Status.UNSUPPORTED_READ)
                if not mask >> entry.read_privilege & 1:
                    raise StatusError(Status.UNSUPPORTED_ACCESS)
            except StatusError as error:
                expansion.statuses.append(
                    attribute_status_report(endpoint_id, cluster_id, attribute_id, error.status)
                )
            else:
                expansion.add(ClusterView(endpoint_id, cluster, {attribute_id: entry}))
            continue
        for endpoint in _endpoints(access.node, endpoint_id):
            for cluster in _clusters(endpoint, cluster_id):
                mask = access.mask(session, endpoint.id, cluster.id)
                view = access.view(endpoint.id, cluster, mask)
                if attribute_id is not None:
                    entry = view.entries.get(attribute_id)
                    entries = {} if entry is None else {attribute_id: entry}
                    view = ClusterView(endpoint.id, cluster, entries)
                expansion.add(view)
    return expansion


class EventExpansion(Struct):
    """The expansion of event requests: paths with their urgency, and statuses."""

    paths: dict[EventPath, bool] = field(default_factory=dict)
    statuses: list[bytes] = field(default_factory=list)


def expand_events(
    access: Access, session: SecureSession, requests: Iterable[EventRequest]
) -> EventExpansion:
    """Expand requested event paths, like `expand_attributes`."""
    expansion = EventExpansion()
    paths = expansion.paths
    for endpoint_id, cluster_id, event_id, is_urgent in requests:
        if endpoint_id is not None and cluster_id is not None and event_id is not None:
            try:
                cluster, mask = access.find(session, endpoint_id, cluster_id)
                event = cluster.events.get(event_id)
                if event is None:
                    raise StatusError(Status.UNSUPPORTED_EVENT)
                if not mask >> event.read_privilege & 1:
                    raise StatusError(Status.UNSUPPORTED_ACCESS)
            except StatusError as error:
                expansion.statuses.append(
                    event_status_report(endpoint_id, cluster_id, event_id, error.status)
                )
            else:
                path = EventPath(endpoint_id, cluster_id, event_id)
                paths[path] = is_urgent or paths.get(path, False)
            continue
        for endpoint in _endpoints(access.node, endpoint_id):
            for cluster in _clusters(endpoint, cluster_id):
                if not cluster.events:
                    continue
                mask = access.mask(session, endpoint.id, cluster.id)
                for event in cluster.events.values():
                    if event_id in (None, event.id) and mask >> event.read_privilege & 1:
                        path = EventPath(endpoint.id, cluster.id, event.id)
                        paths[path] = is_urgent or paths.get(path, False)
    return expansion


def _endpoints(node: Node, endpoint_id: int | None) -> Iterable[Endpoint]:
    if endpoint_id is None:
        return node.endpoints.values()
    endpoint = node.endpoints.get(endpoint_id)
    return () if endpoint is None else (endpoint,)


def _clusters(endpoint: Endpoint, cluster_id: int | None) -> Iterable[Cluster]:
    if cluster_id is None:
        return endpoint.clusters.values()
    cluster = endpoint.clusters.get(cluster_id)
    return () if cluster is None else (cluster,)
