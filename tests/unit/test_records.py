"""`records.dataclass` does what the standard library's does."""

import copy
import dataclasses
import inspect
import pickle
from collections.abc import Callable
from dataclasses import FrozenInstanceError, field

import pytest

from evse_node import records

BOTH = pytest.mark.parametrize("dataclass", [records.dataclass, dataclasses.dataclass])


@records.dataclass(frozen=True, slots=True)
class Reading:
    """At module level, for pickle."""

    power_mw: int
    source: str = "meter"
    notes: list[str] = field(default_factory=list, compare=False)


@BOTH
@pytest.mark.parametrize("slots", [False, True])
def test_frozen_record(dataclass: Callable[..., Callable[[type], type]], slots: bool) -> None:
    @dataclass(frozen=True, slots=slots)
    class Limit:
        source: str
        current_ma: int = 16000
        hidden: bytes = field(default=b"", repr=False, compare=False)
        names: list[str] = field(default_factory=list)
        total: int = field(init=False, default=3)

        def __post_init__(self) -> None:
            object.__setattr__(self, "total", self.current_ma * 2)

    limit = Limit("cable")
    assert (limit.source, limit.current_ma, limit.hidden) == ("cable", 16000, b"")
    assert (limit.names, limit.total) == ([], 32000)
    assert limit.names is not Limit("cable").names
    assert repr(limit).endswith("Limit(source='cable', current_ma=16000, names=[], total=32000)")
    assert limit == Limit("cable", hidden=b"other")
    assert limit != Limit("cable", 6000)
    assert limit.__eq__(3) is NotImplemented
    for action in (
        lambda: setattr(limit, "source", "user"),
        lambda: delattr(limit, "source"),
        lambda: setattr(limit, "unknown", 1),
    ):
        with pytest.raises((FrozenInstanceError, TypeError)):
            action()
    assert limit.source == "cable"
    assert dataclasses.replace(limit, source="user") == Limit("user")
    assert [each.name for each in dataclasses.fields(limit)][:2] == ["source", "current_ma"]
    assert dataclasses.astuple(limit) == ("cable", 16000, b"", [], 32000)
    match limit:
        case Limit(source, current):
            assert (source, current) == ("cable", 16000)
    assert copy.copy(limit) == copy.deepcopy(limit) == limit
    assert hasattr(limit, "__dict__") is not slots
    with pytest.raises(TypeError, match="hash"):
        hash(limit)  # because of the list in it
    for wrong in (
        lambda: Limit(),
        lambda: Limit("a", 1, b"", [], 5),
        lambda: Limit(source="a", x=1),
    ):
        with pytest.raises(TypeError):
            wrong()


@BOTH
def test_changeable_record(dataclass: Callable[..., Callable[[type], type]]) -> None:
    @dataclass(slots=True)
    class Counter:
        count: int = 0

    counter = Counter()
    counter.count += 1
    assert counter == Counter(1)
    with pytest.raises(TypeError, match="unhashable"):
        hash(counter)
    with pytest.raises(AttributeError):
        counter.other = 1


@BOTH
def test_keyword_only_and_inheritance(dataclass: Callable[..., Callable[[type], type]]) -> None:
    @dataclass(frozen=True, slots=True)
    class Event:
        at: float

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Plugged(Event):
        ampacity_ma: int

    event = Plugged(1.0, ampacity_ma=32000)
    assert (event.at, event.ampacity_ma) == (1.0, 32000)
    assert event != Event(1.0)
    assert Event(1.0) == Event(1.0)
    assert len({event, Plugged(1.0, ampacity_ma=32000), Event(1.0)}) == 2
    assert list(inspect.signature(Plugged).parameters) == ["at", "ampacity_ma"]
    with pytest.raises(TypeError):
        Plugged(1.0, 32000)


@BOTH
def test_what_a_class_defines_stays(dataclass: Callable[..., Callable[[type], type]]) -> None:
    @dataclass(frozen=True, slots=True)
    class Name:
        text: str

        def __repr__(self) -> str:
            return "a name"

        def __hash__(self) -> int:
            return 7

    @dataclass(frozen=True, slots=True)
    class Odd:
        number: int

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Odd)

    @dataclass(frozen=True, slots=True, eq=False)
    class Token:
        text: str

    @dataclass(frozen=True, slots=True, repr=False)
    class Secret:
        text: str

    assert (repr(Name("a")), hash(Name("a"))) == ("a name", 7)
    assert Name("a") == Name("a")
    assert Odd(1) == Odd(2)
    assert hash(Odd(1)) == hash(Odd(1))
    assert Token("a") != Token("a")
    assert "hidden" not in repr(Secret("hidden"))


@BOTH
def test_no_fields_and_recursion(dataclass: Callable[..., Callable[[type], type]]) -> None:
    @dataclass(frozen=True, slots=True)
    class Nothing:
        pass

    @dataclass(slots=True)
    class Link:
        next: object = None

    assert Nothing() == Nothing()
    assert hash(Nothing()) == hash(Nothing())
    link = Link()
    link.next = link
    assert repr(link).endswith("Link(next=...)")


def test_pickle() -> None:
    reading = Reading(5, notes=["x"])
    kept = pickle.loads(pickle.dumps(reading))
    assert kept == reading
    assert kept.notes == ["x"]


def test_replace_does_what_the_original_does() -> None:
    @records.dataclass(frozen=True, slots=True)
    class Pair:
        first: int
        second: int = 2

        def __post_init__(self) -> None:
            if self.first < 0:
                raise ValueError("below 0")

    @records.dataclass(frozen=True, slots=True)
    class Single:
        value: tuple[int, ...] = ()

    @records.dataclass(slots=True, kw_only=True)
    class ByName:
        first: int
        second: int = 2

    @records.dataclass(frozen=True, slots=True)
    class Sum:
        first: int
        second: int
        total: int = field(init=False, default=0)

        def __post_init__(self) -> None:
            object.__setattr__(self, "total", self.first + self.second)

    @dataclasses.dataclass
    class Plain:
        first: int
        second: int = 2

    for replace in (records.replace, dataclasses.replace):
        pair = Pair(1)
        assert replace(pair) == pair
        assert replace(pair) is not pair
        assert replace(pair, second=3) == Pair(1, 3)
        assert replace(pair, second=3, first=0) == Pair(0, 3)
        assert pair == Pair(1, 2)
        assert replace(Single((1, 2)), value=()) == Single()
        assert replace(Single((1, 2))) == Single((1, 2))
        assert replace(ByName(first=1), second=3) == ByName(first=1, second=3)
        assert replace(Sum(1, 2), second=5).total == 6
        assert replace(Plain(1), second=3) == Plain(1, 3)
        with pytest.raises(TypeError):
            replace(pair, third=3)  # type: ignore[call-arg]
        with pytest.raises(ValueError, match="below 0"):
            replace(pair, first=-1)


def test_replace_takes_the_values_as_they_are() -> None:
    reading = Reading(5, notes=["x"])
    changed = records.replace(reading, power_mw=6)
    assert changed.notes is reading.notes
    assert (changed.power_mw, changed.source) == (6, "meter")
