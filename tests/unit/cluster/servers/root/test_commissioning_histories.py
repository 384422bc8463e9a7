"""Random histories of commissioning, with the power cut after each step.

After the cut the node finds its present data except pending changes under the fail-safe, and
no data of removed fabrics.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import cache
from random import Random

from evse_node.cluster.definitions.definition import Value
from evse_node.errors import StatusError
from evse_node.matter import tlv
from evse_node.matter.data_model import AuthMode, InteractionContext, Privilege
from evse_node.matter.fabrics.access_control import AccessControlEntry
from evse_node.matter.fabrics.group import GroupKeyMapping
from evse_node.matter.fabrics.group_key import EpochKey, GroupKeySet
from tests.support.matter.fake_ca import CertificateAuthority
from tests.support.matter.root_node import ADMIN, RootNode

STEPS = 45


@cache
def authorities() -> list[CertificateAuthority]:
    return [CertificateAuthority(fabric_id) for fabric_id in (11, 12, 13, 14)]


def lasting(root: RootNode) -> dict[int, tuple[object, ...]]:
    """Return the data of each fabric that must survive a power cut."""
    found: dict[int, tuple[object, ...]] = {}
    for fabric in root.fabrics:
        index = fabric.index
        if not root.fabrics.is_pending(index):
            found[index] = (
                fabric.label,
                fabric.ipk,
                root.access_control.entries(index),
                root.access_control.extension(index),
                root.group_keys.key_map(index),
                root.group_keys.key_set_ids(index),
                "" if root.fabrics.has_pending_change(index) else fabric.noc,
            )
    return found


class History:
    """A root node with random commands of several administrators."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.root = RootNode()
        for authority in authorities()[:2]:
            self.root.add_fabric(authority=authority)
        # Changes of fabrics since then.
        self.seen: set[str] = set()
        self.root.fabrics.on_committed.append(lambda index: self.seen.add("committed"))
        self.root.fabrics.on_updated.append(lambda index: self.seen.add("updated"))
        self.root.fabrics.on_removed.append(lambda index: self.seen.add("removed"))
        self.pase: InteractionContext | None = None

    def step(self) -> None:
        """Run a random command; most are refused."""
        root, draw = self.root, self.random
        context = self._commissioner()
        index = draw.choice([0, *(fabric.index for fabric in root.fabrics)])
        if index or context is None:
            index = index or draw.choice([fabric.index for fabric in root.fabrics])
            context = root.case(index)
        actions: list[Callable[[InteractionContext], None]] = [
            self._arm,
            *3 * [self._add_fabric],
            *5 * [self._complete],
            self._remove_fabric,
            self._let_time_pass,
            self._label,
        ]
        if index:
            actions += [self._update_fabric, self._write_access, self._write_groups]
        with suppress(StatusError):
            draw.choice(actions)(context)
        self._end_exchanges()

    def _commissioner(self) -> InteractionContext | None:
        """Return a PASE commissioner, if a window allows one now."""
        root = self.root
        if self.pase is None or self.pase.session not in list(root.sessions):
            may_come = not root.fail_safe.is_armed and self.random.random() < 0.2
            self.pase = root.pase() if may_come or not root.fabrics else None
        return self.pase

    def _end_exchanges(self) -> None:
        for session in self.root.sessions:
            session.exchanges.clear()
            if session.is_closing or session.is_case:
                self.root.sessions.remove(session, self.root.now)

    def _arm(self, context: InteractionContext) -> None:
        self.root.invoke(
            self.root.commissioning,
            "arm_fail_safe",
            context,
            expiry_length_seconds=self.random.choice([0, *5 * [60]]),
            breadcrumb=1,
        )

    def _request_key(self, context: InteractionContext, *, is_update: bool) -> bytes:
        self._arm(context)
        reply = self.root.invoke(
            self.root.credentials,
            "csr_request",
            context,
            csr_nonce=bytes(32),
            is_for_update_noc=is_update,
        )
        elements = reply["nocsr_elements"]
        assert isinstance(elements, bytes)
        csr = tlv.decode_struct(elements)[1]
        assert isinstance(csr, bytes)
        return csr

    def _add_fabric(self, context: InteractionContext) -> None:
        root = self.root
        roots = [fabric.root_certificate for fabric in root.fabrics]
        others = [each for each in authorities() if each.rcac not in roots]
        authority = self.random.choice(others or authorities())
        csr = self._request_key(context, is_update=False)
        root.invoke(
            root.credentials,
            "add_trusted_root_certificate",
            context,
            root_ca_certificate=authority.rcac,
        )
        root.invoke(
            root.credentials,
            "add_noc",
            context,
            noc_value=authority.issue_noc_for_csr(csr, self.random.randrange(1, 99)),
            icac_value=authority.icac,
            ipk_value=self.random.randbytes(16),
            case_admin_subject=ADMIN,
            admin_vendor_id=0xFFF1,
        )

    def _update_fabric(self, context: InteractionContext) -> None:
        csr = self._request_key(context, is_update=True)
        fabric = self.root.fabrics.get(context.subject.fabric_index)
        assert fabric is not None
        (authority,) = (each for each in authorities() if each.rcac == fabric.root_certificate)
        self.root.invoke(
            self.root.credentials,
            "update_noc",
            context,
            noc_value=authority.issue_noc_for_csr(csr, self.random.randrange(1, 99)),
            icac_value=authority.icac,
        )

    def _complete(self, context: InteractionContext) -> None:
        self.root.invoke(self.root.commissioning, "commissioning_complete", context)

    def _remove_fabric(self, context: InteractionContext) -> None:
        index = self.random.randrange(1, 9)
        self.root.invoke(self.root.credentials, "remove_fabric", context, fabric_index=index)

    def _let_time_pass(self, context: InteractionContext) -> None:
        self.root.now += self.random.choice([1.0, 61.0])
        self.root.timers.run(self.root.now)

    def _label(self, context: InteractionContext) -> None:
        label: Value = self.random.choice("abc")
        self.root.invoke(self.root.credentials, "update_fabric_label", context, label=label)

    def _write_access(self, context: InteractionContext) -> None:
        index, subject = context.subject.fabric_index, self.random.randrange(1, 99)
        entry = AccessControlEntry(Privilege.ADMINISTER, AuthMode.CASE, (ADMIN, subject))
        self.root.access_control.set_entries(index, [entry])
        self.root.access_control.set_extension(index, self.random.choice([None, b"\x17\x18"]))

    def _write_groups(self, context: InteractionContext) -> None:
        index, number = context.subject.fabric_index, self.random.randrange(0, 4)
        key_set = GroupKeySet(number, 0, (EpochKey(self.random.randbytes(16), 1),))
        self.root.group_keys.set_key_set(index, key_set)
        self.root.group_keys.set_key_map(index, [GroupKeyMapping(5, 1)])


def test_power_cuts_lose_and_leave_nothing() -> None:
    seen: set[str] = set()
    for seed in (1, 2, 3):
        history = History(seed)
        for _ in range(STEPS):
            history.step()
            _check(history.root)
        seen |= history.seen
    assert seen == {"committed", "updated", "removed"}


def _check(root: RootNode) -> None:
    if not root.fail_safe.is_armed:
        assert not any(root.fabrics.has_pending_change(fabric.index) for fabric in root.fabrics)
    root.store.commit()
    expected, found = lasting(root), lasting(root.restart())
    assert found.keys() == expected.keys()
    for index, values in expected.items():
        # A pending update is rolled back to the previous certificate.
        assert found[index][:-1] == values[:-1]
        assert values[-1] in ("", found[index][-1])
    stored = {key.split("/")[1] for key, _ in root.store.items("") if _is_of_fabric(key)}
    assert stored <= set(map(str, expected))


def _is_of_fabric(key: str) -> bool:
    return key.split("/")[0] in ("fabric", "acl", "aclext", "groupkeys", "resumption")
