import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from evse_node.errors import ConfigError, StatusError
from evse_node.matter.data_model import AuthMode, Privilege, Subject
from evse_node.matter.fabrics.access_control import (
    ALL_PRIVILEGES,
    AccessControl,
    AccessControlEntry,
    Target,
    check_extension,
    privilege_bit,
)
from evse_node.matter.fabrics.fabric import FabricTable
from evse_node.matter.interaction.status import Status
from evse_node.testing.memory_store import MemoryStore
from tests.support.matter.fake_fabric import add_pending

ADMIN = 112233
CAT = 0xFFFF_FFFD_0000_0000


def entry(
    privilege: Privilege = Privilege.ADMINISTER,
    subjects: tuple[int, ...] | None = (ADMIN,),
    targets: tuple[Target, ...] | None = None,
    auth_mode: AuthMode = AuthMode.CASE,
) -> AccessControlEntry:
    return AccessControlEntry(privilege, auth_mode, subjects, targets)


def bits(*privileges: Privilege) -> int:
    return sum(privilege_bit(privilege) for privilege in privileges)


@pytest.fixture
def access(store: MemoryStore, fabrics: FabricTable) -> AccessControl:
    return AccessControl(store, fabrics)


def case(node_id: int = ADMIN, fabric_index: int = 1, tags: tuple[int, ...] = ()) -> Subject:
    return Subject(AuthMode.CASE, fabric_index, node_id, tags)


def test_pase_subject_has_all_privileges(access: AccessControl) -> None:
    assert access.granted(Subject(AuthMode.PASE), 0, 0x1F, ()) == ALL_PRIVILEGES
    assert access.granted(Subject(AuthMode.PASE, 1), 1, 0x99, ()) == ALL_PRIVILEGES


def test_subject_without_entry_has_no_privilege(access: AccessControl) -> None:
    assert access.granted(case(), 0, 0x1F, ()) == 0


@pytest.mark.parametrize(
    ("privilege", "implied"),
    [
        (Privilege.VIEW, bits(Privilege.VIEW)),
        (Privilege.PROXY_VIEW, bits(Privilege.VIEW, Privilege.PROXY_VIEW)),
        (Privilege.OPERATE, bits(Privilege.VIEW, Privilege.OPERATE)),
        (Privilege.MANAGE, bits(Privilege.VIEW, Privilege.OPERATE, Privilege.MANAGE)),
        (Privilege.ADMINISTER, bits(*Privilege)),
    ],
)
def test_privilege_implies_lesser_privileges(
    access: AccessControl, privilege: Privilege, implied: int
) -> None:
    access.set_entries(1, [entry(privilege)])
    assert access.granted(case(), 0, 0x1F, ()) == implied


def test_entries_apply_to_their_fabric_only(access: AccessControl) -> None:
    access.set_entries(1, [entry()])
    assert access.granted(case(fabric_index=2), 0, 0x1F, ()) == 0
    assert access.granted(case(ADMIN + 1), 0, 0x1F, ()) == 0


def test_null_subjects_match_all_subjects_of_the_auth_mode(access: AccessControl) -> None:
    access.set_entries(1, [entry(Privilege.VIEW, None)])
    assert access.granted(case(5), 0, 0x1F, ()) == bits(Privilege.VIEW)
    assert access.granted(Subject(AuthMode.GROUP, 1, 5), 0, 0x1F, ()) == 0


def test_group_subject_matches_group_id(access: AccessControl) -> None:
    access.set_entries(1, [entry(Privilege.OPERATE, (7,), None, AuthMode.GROUP)])
    assert access.granted(Subject(AuthMode.GROUP, 1, 7), 1, 0x99, ()) & bits(Privilege.OPERATE)
    assert access.granted(Subject(AuthMode.GROUP, 1, 8), 1, 0x99, ()) == 0
    # A node id equal to the group id does not match.
    assert access.granted(case(7), 1, 0x99, ()) == 0


@pytest.mark.parametrize(
    ("tags", "matches"),
    [
        ((), False),
        ((0x0001_0002,), True),
        ((0x0001_0003,), True),
        ((0x0001_0001,), False),
        ((0x0002_0002,), False),
        ((0x0009_0001, 0x0001_FFFF), True),
    ],
)
def test_authenticated_tag_matches_same_or_later_version(
    access: AccessControl, tags: tuple[int, ...], matches: bool
) -> None:
    access.set_entries(1, [entry(subjects=(CAT | 0x0001_0002,))])
    assert (access.granted(case(5, tags=tags), 0, 0x1F, ()) == ALL_PRIVILEGES) is matches


@pytest.mark.parametrize(
    ("target", "granted"),
    [
        (Target(cluster=0x99), {(1, 0x99), (2, 0x99)}),
        (Target(endpoint=1), {(1, 0x99), (1, 0x03)}),
        (Target(device_type=0x050C), {(1, 0x99), (1, 0x03)}),
        (Target(cluster=0x99, endpoint=1), {(1, 0x99)}),
        (Target(cluster=0x99, device_type=0x16), {(2, 0x99)}),
    ],
)
def test_target_restricts_clusters_and_endpoints(
    access: AccessControl, target: Target, granted: set[tuple[int, int]]
) -> None:
    access.set_entries(1, [entry(targets=(target,))])
    device_types = {1: (0x050C, 0x0011), 2: (0x16,)}
    found = {
        (endpoint, cluster)
        for endpoint in (1, 2)
        for cluster in (0x99, 0x03)
        if access.granted(case(), endpoint, cluster, device_types[endpoint])
    }
    assert found == granted


def test_privileges_of_several_entries_are_combined(access: AccessControl) -> None:
    access.set_entries(
        1,
        [
            entry(Privilege.VIEW, None),
            entry(Privilege.MANAGE, (ADMIN,), (Target(cluster=0x99), Target(endpoint=3))),
            entry(Privilege.PROXY_VIEW, (ADMIN,), (Target(endpoint=3),)),
        ],
    )
    assert access.granted(case(), 1, 0x03, ()) == bits(Privilege.VIEW)
    assert access.granted(case(), 3, 0x03, ()) == ALL_PRIVILEGES & ~bits(Privilege.ADMINISTER)


VALID = entry(Privilege.OPERATE, (1,), (Target(cluster=0x99),))


@pytest.mark.parametrize(
    "bad",
    [
        replace(VALID, auth_mode=AuthMode.PASE),
        AccessControlEntry(Privilege.ADMINISTER, AuthMode.GROUP, None, None),
        replace(VALID, subjects=(0,)),
        replace(VALID, subjects=(0xFFFF_FFFF_FFFF_FFFF,)),
        replace(VALID, subjects=(CAT,)),
        replace(VALID, subjects=(CAT | 0x0001_0000,)),
        replace(VALID, subjects=(0xFFFF_FFFF_FFFF_0000,)),
        replace(VALID, subjects=(0xFFFF_FFF0_0000_0000,)),
        AccessControlEntry(Privilege.VIEW, AuthMode.GROUP, (0,), None),
        AccessControlEntry(Privilege.VIEW, AuthMode.GROUP, (0x1_0000,), None),
        AccessControlEntry(Privilege.VIEW, AuthMode.GROUP, (CAT | 1,), None),
        replace(VALID, targets=(Target(),)),
        replace(VALID, targets=(Target(cluster=0xFFFFFFFF),)),
        replace(VALID, targets=(Target(cluster=0x8000),)),
        replace(VALID, targets=(Target(cluster=0xFFF1_0000),)),
        replace(VALID, targets=(Target(cluster=0xFFF1_FBFF),)),
        replace(VALID, targets=(Target(cluster=0xFFF1_FFFF),)),
        replace(VALID, targets=(Target(cluster=0xFFF5_FC00),)),
        replace(VALID, targets=(Target(endpoint=0xFFFF),)),
        replace(VALID, targets=(Target(device_type=0xFFFFFFFF),)),
        replace(VALID, targets=(Target(device_type=0xFFF4_C000),)),
        replace(VALID, targets=(Target(device_type=0xFFF5_0001),)),
        replace(VALID, targets=(Target(endpoint=22, device_type=33),)),
        replace(VALID, targets=(Target(cluster=11, endpoint=22, device_type=33),)),
    ],
)
def test_invalid_entry_is_refused_and_list_unchanged(
    access: AccessControl, bad: AccessControlEntry
) -> None:
    access.set_entries(1, [entry()])
    generation = access.generation
    with pytest.raises(StatusError) as error:
        access.set_entries(1, [entry(), bad])
    assert error.value.status == Status.CONSTRAINT_ERROR
    assert access.entries(1) == (entry(),)
    assert access.generation == generation


@pytest.mark.parametrize(
    "good",
    [
        replace(VALID, subjects=(0xFFFF_FFEF_FFFF_FFFF,)),
        replace(VALID, subjects=(CAT | 0xABCD_0001,)),
        AccessControlEntry(Privilege.MANAGE, AuthMode.GROUP, (0xFFFF,), None),
        replace(VALID, targets=(Target(cluster=0xFFF1_FC00, endpoint=0xFFFE),)),
        replace(VALID, targets=(Target(cluster=0xFFF4_FFFE),)),
        replace(VALID, targets=(Target(cluster=0x7FFF, device_type=0xFFF4_BFFF),)),
        replace(VALID, privilege=Privilege.PROXY_VIEW),
    ],
)
def test_valid_entry_is_accepted(access: AccessControl, good: AccessControlEntry) -> None:
    access.set_entries(1, [good])
    assert access.entries(1) == (good,)


def test_list_beyond_limit_is_refused(access: AccessControl) -> None:
    full = entry(
        subjects=tuple(range(1, 5)), targets=tuple(Target(endpoint=number) for number in range(3))
    )
    access.set_entries(1, [full] * 4)
    for too_much in (
        [full] * 5,
        [replace(full, subjects=tuple(range(1, 6)))],
        [replace(full, targets=tuple(Target(endpoint=number) for number in range(4)))],
    ):
        with pytest.raises(StatusError) as error:
            access.set_entries(1, too_much)
        assert error.value.status == Status.RESOURCE_EXHAUSTED
    assert len(access.entries(1)) == 4


def test_empty_subjects_and_targets_are_stored_as_null(access: AccessControl) -> None:
    access.set_entries(1, [entry(subjects=(), targets=())])
    assert access.entries(1) == (entry(subjects=None, targets=None),)


def test_lists_are_restored_after_restart(
    store: MemoryStore, fabrics: FabricTable, access: AccessControl
) -> None:
    entries = [
        entry(),
        entry(Privilege.VIEW, None, (Target(0x99, 1, None), Target(device_type=0x16))),
        entry(Privilege.OPERATE, (1, 2), None, AuthMode.GROUP),
    ]
    access.set_entries(1, entries)
    access.set_extension(2, b"\x17\x18")
    again = AccessControl(store, fabrics)
    assert again.entries(1) == tuple(entries)
    assert again.entries(2) == ()
    assert again.extension(2) == b"\x17\x18"
    assert again.extension(1) is None


def test_observers_are_called_after_each_change(access: AccessControl) -> None:
    seen: list[int] = []
    access.on_changed.append(seen.append)
    access.set_entries(2, [entry()])
    access.set_extension(1, None)
    assert seen == [2, 1]
    assert access.generation == 2


def test_list_of_pending_fabric_is_not_stored(
    store: MemoryStore, fabrics: FabricTable, access: AccessControl
) -> None:
    index = add_pending(fabrics, 3).index
    access.set_entries(index, [entry()])
    access.set_extension(index, b"\x17\x18")
    assert store.get(f"acl/{index}") is None
    fabrics.commit_pending()
    assert AccessControl(store, fabrics).entries(index) == (entry(),)
    assert store.get(f"aclext/{index}") == b"\x17\x18"


def test_list_of_removed_fabric_is_deleted(
    store: MemoryStore, fabrics: FabricTable, access: AccessControl
) -> None:
    access.set_entries(1, [entry()])
    access.set_extension(1, b"\x17\x18")
    generation = access.generation
    fabrics.remove(1)
    assert access.granted(case(), 0, 0x1F, ()) == 0
    assert access.generation > generation
    assert store.items("acl") == []


def test_stored_lists_of_missing_fabric_are_deleted_at_start(
    store: MemoryStore, fabrics: FabricTable, access: AccessControl
) -> None:
    access.set_entries(1, [entry()])
    store.set("acl/9", store.get("acl/1") or b"")
    store.set("aclext/9", b"\x17\x18")
    again = AccessControl(store, fabrics)
    assert again.entries(9) == ()
    assert store.get("acl/9") is None
    assert store.get("aclext/9") is None


def test_damaged_list_raises_config_error_with_its_key(
    store: MemoryStore, fabrics: FabricTable
) -> None:
    for value in (b"\x15\x18", b"\x16\x04\x01\x18", b"\x16\x15\x18\x18"):
        store.set("acl/1", value)
        with pytest.raises(ConfigError, match="acl/1"):
            AccessControl(store, fabrics)


_SINGLE = bytes.fromhex("17d00000f1ff01000548656c6c6f0018")


@pytest.mark.parametrize("data", [b"\x17\x18", b"\x17" + bytes.fromhex("d00000f1ff01000018")])
def test_valid_extension_is_stored(data: bytes) -> None:
    check_extension(data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x15\x18",
        b"\x37\x01\x18",
        b"\x17\x10\x00\x18",
        b"\x17\x30\x01\x00\x18",
        b"\x17\x18\xff",
        b"\x17\x18\x18",
        b"\x17",
        b"\x17" + bytes.fromhex("d00000f1ff010073") + bytes(0x78) + b"\x18",
    ],
)
def test_invalid_extension_is_refused(access: AccessControl, data: bytes) -> None:
    access.set_extension(1, b"\x17\x18")
    with pytest.raises(StatusError) as error:
        access.set_extension(1, data)
    assert error.value.status == Status.CONSTRAINT_ERROR
    assert access.extension(1) == b"\x17\x18"


def test_extension_of_128_bytes_is_accepted() -> None:
    data = b"\x17" + bytes.fromhex("d00000f1ff0100") + bytes((118,)) + bytes(118) + b"\x18"
    assert len(data) == 128
    check_extension(data)
    data = b"\x17" + bytes.fromhex("d00000f1ff0100") + bytes((119,)) + bytes(119) + b"\x18"
    with pytest.raises(StatusError):
        check_extension(data)


@given(
    st.lists(
        st.builds(
            AccessControlEntry,
            st.sampled_from(Privilege),
            st.sampled_from(AuthMode),
            st.none() | st.tuples(st.integers(0, 2**64 - 1)),
            st.none()
            | st.tuples(
                st.builds(
                    Target,
                    st.none() | st.integers(0, 2**32 - 1),
                    st.none() | st.integers(0, 2**16 - 1),
                    st.none() | st.integers(0, 2**32 - 1),
                )
            ),
        ),
        max_size=4,
    )
)
def test_accepted_entries_are_restored_after_restart(entries: list[AccessControlEntry]) -> None:
    store = MemoryStore()
    # Any fabric will do.
    table = FabricTable(store)
    access = AccessControl(store, table)
    try:
        access.set_entries(1, entries)
    except StatusError:
        return
    table._fabrics[1] = None  # type: ignore[assignment]
    assert AccessControl(store, table).entries(1) == access.entries(1)
