"""The secure channel: byte for byte what Noise says, and nothing a relay can do to it goes unnoticed."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers import Cipher as BlockCipher
from cryptography.hazmat.primitives.ciphers import algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.errors import HoldError
from holdfast.wire import channel
from holdfast.wire.channel import (
    BadHandshake,
    BadSeal,
    ChannelClosed,
    Cipher,
    Initiator,
    PeerClosed,
    Responder,
    Secure,
    Symmetric,
    binding,
    prologue,
    read_first,
    read_second,
    write_first,
    write_second,
)

VECTORS: Final = json.loads((Path(__file__).parent / "noise_vectors.json").read_text())
PAGE: Final = (Path(__file__).resolve().parents[2] / "docs" / "channel.md").read_text()

# The seven u coordinates of low order and the two that only look different from them: DH with each is zero.
LOW_ORDER: Final = [
    u.to_bytes(32, "little")
    for p in [2**255 - 19]
    for u in [
        *(0, 1, p - 1, p, p + 1),
        0x00B8495F16056286FDB1329CEB8D09DA6AC49FF1FAE35616AEB8413B7C7AEBE0,
        0x57119FD0DD4E22D8868E1C58C45C44045BEF839C55B1D0B1248C50A3BC959C5F,
        *(2**255, 2**255 + 1),
    ]
]


def key(seed: int) -> X25519PrivateKey:
    return X25519PrivateKey.from_private_bytes(bytes([seed]) * 32)


def public(private: X25519PrivateKey) -> bytes:
    return private.public_key().public_bytes_raw()


CLIENT, HOST, OTHER = key(1), key(2), key(3)
CLIENT_EPHEMERAL, HOST_EPHEMERAL, OTHER_EPHEMERAL = key(4), key(5), key(6)
PROLOGUE: Final = prologue(bytes(range(32)))


def initiator(
    *, to: X25519PrivateKey = HOST, prologue: bytes = PROLOGUE, ephemeral: X25519PrivateKey = CLIENT_EPHEMERAL, **more: int
) -> Initiator:  # fmt: skip
    return Initiator(
        static_private=CLIENT, remote_static=public(to), prologue=prologue, ephemeral_private=ephemeral, **more
    )


def responder(*, static: X25519PrivateKey = HOST, prologue: bytes = PROLOGUE, **more: int) -> Responder:
    return Responder(static_private=static, prologue=prologue, **more)


def pair(**more: int) -> tuple[Secure, Secure]:
    """Client and host of one channel."""
    client = initiator(**more)
    answered = responder(**more).answer(client.message1, ephemeral_private=HOST_EPHEMERAL)
    return client.finish(answered.message2), answered.secure


MESSAGE1: Final = initiator().message1
MESSAGE2: Final = responder().answer(MESSAGE1, ephemeral_private=HOST_EPHEMERAL).message2


def flips(data: bytes) -> list[bytes]:
    """Every way to change one bit."""
    return [data[:at] + bytes([data[at] ^ (1 << bit)]) + data[at + 1 :] for at in range(len(data)) for bit in range(8)]


# ---- what Noise says -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["source"].split(",")[0])
def test_every_byte_is_that_of_the_published_vectors(vector: dict[str, Any]) -> None:
    """Promise C1: both handshake messages, the handshake hash where it is given, and every transport message."""
    raw = {name: bytes.fromhex(vector[name]) for name in vector if name.startswith(("init_", "resp_"))}
    private = {name: X25519PrivateKey.from_private_bytes(raw[name]) for name in raw if name.endswith(("c", "l"))}
    messages = [(bytes.fromhex(m["payload"]), bytes.fromhex(m["ciphertext"])) for m in vector["messages"]]
    (payload1, message1), (payload2, message2), *transport = messages

    ours = Symmetric(raw["init_prologue"], raw["init_remote_static"])
    theirs = Symmetric(raw["resp_prologue"], public(private["resp_static"]))
    assert vector["protocol_name"].encode() == channel.PROTOCOL
    args = private["init_static"], raw["init_remote_static"], private["init_ephemeral"], payload1
    assert write_first(ours, *args) == message1
    first = read_first(theirs, private["resp_static"], message1)
    assert first == (public(private["init_ephemeral"]), public(private["init_static"]), payload1)
    assert write_second(theirs, private["resp_ephemeral"], first[0], first[1], payload2) == message2
    assert read_second(ours, private["init_static"], private["init_ephemeral"], message2) == payload2

    assert ours.h == theirs.h == bytes.fromhex(vector.get("handshake_hash", ours.h.hex()))
    assert ours.split() == theirs.split()
    to_host, to_client = ours.split()
    client, host = Secure(**ends(to_host, to_client)), Secure(**ends(to_client, to_host))
    for index, (payload, ciphertext) in enumerate(transport):
        sender, receiver = (client, host) if index % 2 == 0 else (host, client)
        assert sender.seal(payload) == ciphertext
        assert receiver.open(ciphertext) == payload


def ends(outward: bytes, inward: bytes) -> dict[str, Any]:
    return {"outward": Cipher(outward), "inward": Cipher(inward), "handshake_hash": bytes(32)}


def test_the_vectors_are_of_two_independent_sources_and_one_gives_the_hash() -> None:
    assert len(VECTORS) == 2
    assert sum("handshake_hash" in vector for vector in VECTORS) == 1


def test_rekey_is_the_cipher_over_zeros_under_the_last_nonce() -> None:
    """Noise 4.2, computed here another way: the first bytes of GCM are AES of nonce and counter 2, 3, ..."""
    old, nonce = bytes(range(32)), bytes(4) + b"\xff" * 8
    block = BlockCipher(algorithms.AES(old), modes.ECB()).encryptor()
    new = block.update(nonce + b"\0\0\0\2" + nonce + b"\0\0\0\3")
    cipher = Cipher(old, rekey_after=2)
    sealed = [cipher.encrypt(b"x") for _ in range(3)]
    keys = [old, old, new]  # the number goes on: rekeying does not restart it
    assert sealed == [AESGCM(keys[n]).encrypt(bytes(4) + n.to_bytes(8, "big"), b"x", None) for n in range(3)]
    assert {"old": old.hex(), "new": new.hex()} == dict(re.findall(r"REKEY (old|new) key: `(\w+)`", PAGE))


# ---- what works ------------------------------------------------------------------------------------------------------

TALK = st.lists(st.tuples(st.booleans(), st.binary(min_size=1, max_size=300)), max_size=20)


@given(talk=TALK, rekey_after=st.integers(1, 7))
def test_what_is_sealed_opens_on_the_other_side_across_any_rekeys(
    talk: list[tuple[bool, bytes]], rekey_after: int
) -> None:
    """Promise C2: both directions, each with its own count."""
    client, host = pair(rekey_after=rekey_after)
    for up, said in talk:
        sender, receiver = (client, host) if up else (host, client)
        assert receiver.open(sender.seal(said)) == said


def test_both_sides_name_the_channel_alike_and_the_host_learns_the_clients_key() -> None:
    client = initiator()
    answered = responder().answer(client.message1, ephemeral_private=HOST_EPHEMERAL)
    assert client.finish(answered.message2).handshake_hash == answered.secure.handshake_hash
    assert answered.remote_static == public(CLIENT)
    assert (len(client.message1), len(answered.message2)) == (channel.MESSAGE1_BYTES, channel.MESSAGE2_BYTES)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_the_longest_plaintext_fits_the_longest_frame_and_one_more_byte_is_refused(
    kind: Callable[[bytes], Any],
) -> None:
    client, host = pair()
    longest = bytes(channel.PLAINTEXT_BYTES_MAX)
    frame = client.seal(kind(longest))
    assert len(frame) == channel.FRAME_BYTES_MAX
    assert host.open(kind(frame)) == longest
    for wrong in (longest + b"x", b""):
        with pytest.raises(ValueError, match="1 to 65519 bytes"):
            client.seal(kind(wrong))
    assert host.open(client.seal(b"it lives on")) == b"it lives on"


def test_a_binding_fits_one_channel_only() -> None:
    """Promise C6: other keys, another host or another run of the same keys: another hash, another binding."""
    hashes = [MESSAGE1 and pair()[0].handshake_hash]
    for host, host_prologue, ephemeral in [
        (OTHER, PROLOGUE, CLIENT_EPHEMERAL),
        (HOST, prologue(bytes(32)), CLIENT_EPHEMERAL),
        (HOST, PROLOGUE, OTHER_EPHEMERAL),
    ]:
        message1 = initiator(to=host, prologue=host_prologue, ephemeral=ephemeral).message1
        there = responder(static=host, prologue=host_prologue)
        hashes.append(there.answer(message1, ephemeral_private=HOST_EPHEMERAL).secure.handshake_hash)
    assert len(set(map(binding, hashes))) == len(hashes)
    assert binding(hashes[0]) == b"holdfast/channel-binding/1\0" + hashes[0]


# ---- handshakes that must fail ---------------------------------------------------------------------------------------


def refuses_first(message1: bytes, there: Responder | None = None) -> None:
    with pytest.raises(BadHandshake):
        (there or responder()).answer(message1, ephemeral_private=HOST_EPHEMERAL)


def refuses_second(message2: bytes) -> None:
    client = initiator()
    with pytest.raises(BadHandshake):
        client.finish(message2)
    with pytest.raises(BadHandshake):  # dead from then on, even for the right answer
        client.finish(MESSAGE2)


def test_every_flipped_bit_of_message_1_is_refused() -> None:
    """Promise C3: also the top bit of the ephemeral key, which X25519 itself ignores."""
    for altered in flips(MESSAGE1):
        refuses_first(altered)


def test_every_flipped_bit_of_message_2_is_refused() -> None:
    """Promise C3"""
    for altered in flips(MESSAGE2):
        refuses_second(altered)


def test_handshake_messages_of_any_other_length_are_refused() -> None:
    """Promise C3: also longer ones: neither message carries a payload."""
    for message, refuses in ((MESSAGE1, refuses_first), (MESSAGE2, refuses_second)):
        for size in range(len(message)):
            refuses(message[:size])
        refuses(message + b"\0")
        refuses(message + bytes(channel.FRAME_BYTES_MAX))


def test_message_1_carries_no_request() -> None:
    """Promise C4: a payload that Noise itself would accept is refused, because a relay could replay it."""
    state = Symmetric(PROLOGUE, public(HOST))
    refuses_first(write_first(state, CLIENT, public(HOST), CLIENT_EPHEMERAL, b"attach"))


def test_message_2_carries_no_answer_either() -> None:
    state = Symmetric(PROLOGUE, public(HOST))
    first = read_first(state, HOST, MESSAGE1)
    refuses_second(write_second(state, HOST_EPHEMERAL, first.remote_ephemeral, first.remote_static, b"welcome"))


def test_a_host_with_another_key_cannot_answer() -> None:
    """Promise C3: neither read message 1, nor make up a message 2 the client would take."""
    refuses_first(MESSAGE1, responder(static=OTHER))
    impostor = responder(static=OTHER).answer(initiator(to=OTHER).message1, ephemeral_private=OTHER_EPHEMERAL)
    refuses_second(impostor.message2)


@pytest.mark.parametrize("theirs", [prologue(bytes(32)), PROLOGUE.replace(b"/1\0", b"/2\0"), b""])
def test_another_prologue_is_another_protocol(theirs: bytes) -> None:
    """Promise C3: the host's Ed25519 key and our version are in it, so neither can be swapped on the way."""
    refuses_first(MESSAGE1, responder(prologue=theirs))
    refuses_first(initiator(prologue=theirs).message1)


@pytest.mark.parametrize(
    "protocol",
    [
        "Noise_NK_25519_AESGCM_SHA256",
        "Noise_IK_25519_ChaChaPoly_SHA256",
        "Noise_IK_25519_AESGCM_SHA512",
        "Noise_IK_25519_AESGCM_SHA25",
        "Noise_IKpsk2_25519_AESGCM_SHA256_and_more",  # hashed, being longer than 32
    ],
)
def test_no_side_can_be_talked_into_another_protocol(protocol: str) -> None:
    """Promise C3: the name is in the hash from the start; there is nothing to negotiate."""
    other = Symmetric(PROLOGUE, public(HOST), protocol=protocol.encode())
    refuses_first(write_first(other, CLIENT, public(HOST), CLIENT_EPHEMERAL))
    with pytest.raises(BadHandshake):
        read_first(Symmetric(PROLOGUE, public(HOST), protocol=protocol.encode()), HOST, MESSAGE1)


def test_an_answer_to_another_message_1_is_refused() -> None:
    other = initiator(ephemeral=OTHER_EPHEMERAL).message1
    refuses_second(responder().answer(other, ephemeral_private=HOST_EPHEMERAL).message2)


def test_a_handshake_takes_one_answer() -> None:
    client = initiator()
    client.finish(MESSAGE2)
    with pytest.raises(BadHandshake, match="has had its answer"):
        client.finish(MESSAGE2)


def test_a_captured_message_1_gives_the_replayer_a_channel_that_is_of_no_use() -> None:
    """Promise C4: the host answers it, but nothing the replayer has or captured opens there."""
    there = responder()
    victim = initiator()
    first = there.answer(victim.message1, ephemeral_private=HOST_EPHEMERAL)
    client = victim.finish(first.message2)
    captured = [client.seal(b"credentials"), client.close()]

    for frame in captured:
        replayed = there.answer(victim.message1, ephemeral_private=OTHER_EPHEMERAL)
        assert replayed.secure.handshake_hash != client.handshake_hash  # so a captured signature does not fit either
        with pytest.raises(BadSeal):
            replayed.secure.open(frame)
        refuses_second(replayed.message2[:-1])
    assert first.secure.open(captured[0]) == b"credentials"  # and the victim's own channel is untouched


def test_a_bad_message_1_harms_no_other_handshake() -> None:
    there = responder()
    refuses_first(MESSAGE1[:-1], there)
    refuses_first(flips(MESSAGE1)[5], there)
    assert there.answer(MESSAGE1, ephemeral_private=HOST_EPHEMERAL).message2 == MESSAGE2


@pytest.mark.parametrize("low", LOW_ORDER, ids=lambda low: low.hex()[:8])
def test_keys_of_low_order_are_refused_wherever_they_stand(low: bytes) -> None:
    """Promise C5: they would make the secret one that everybody knows; here it is used to forge all that follows."""
    with pytest.raises(BadHandshake):
        Initiator(static_private=CLIENT, remote_static=low, prologue=PROLOGUE, ephemeral_private=CLIENT_EPHEMERAL)

    state = Symmetric(PROLOGUE, public(HOST))  # an ephemeral of low order
    state.mix_hash(low)
    mix_zero(state)
    sealed_static = state.seal(public(CLIENT))
    state.mix_dh(CLIENT, public(HOST))
    refuses_first(low + sealed_static + state.seal(b""))

    state = Symmetric(PROLOGUE, public(HOST))  # a static of low order, so that nobody need own it
    state.mix_hash(public(CLIENT_EPHEMERAL))
    state.mix_dh(CLIENT_EPHEMERAL, public(HOST))
    sealed_static = state.seal(low)
    mix_zero(state)
    refuses_first(public(CLIENT_EPHEMERAL) + sealed_static + state.seal(b""))

    state = Symmetric(PROLOGUE, public(HOST))  # the host's ephemeral, by a host that wants no forward secrecy
    read_first(state, HOST, MESSAGE1)
    state.mix_hash(low)
    mix_zero(state)
    mix_zero(state)
    refuses_second(low + state.seal(b""))


def mix_zero(state: Symmetric) -> None:
    """What ``mix_dh`` would do if it took a key of low order."""
    state._ck, shared = channel._hkdf(state._ck, bytes(32))
    state._cipher = Cipher(shared)


@given(message=st.binary(max_size=120) | st.binary(min_size=96, max_size=96) | st.binary(min_size=48, max_size=48))
def test_garbage_for_a_handshake_message_is_bad_handshake_and_nothing_else(message: bytes) -> None:
    refuses_first(message)
    refuses_second(message)


# ---- frames that must fail -------------------------------------------------------------------------------------------


def dead(secure: Secure) -> None:
    """Nothing can be had from ``secure`` any more, in either direction."""
    assert not secure.writable
    for ask in (lambda: secure.seal(b"x"), lambda: secure.open(bytes(20)), secure.close):
        with pytest.raises(ChannelClosed):
            ask()


def breaks(secure: Secure, frame: bytes) -> None:
    with pytest.raises(BadSeal):
        secure.open(frame)
    assert secure.broken
    assert not secure.closed
    dead(secure)


def test_every_flipped_bit_of_a_frame_breaks_the_channel() -> None:
    """Promise C3, for data and for the close."""
    for end in (False, True):
        for at in range(8 * (16 if end else 21)):
            client, host = pair()
            breaks(host, flips(client.close() if end else client.seal(b"hello"))[at])


def test_a_truncated_or_extended_frame_breaks_the_channel() -> None:
    for size in range(21):
        client, host = pair()
        breaks(host, client.seal(b"hello")[:size])
    client, host = pair()
    breaks(host, client.seal(b"hello") + b"\0")


def test_a_repeated_frame_breaks_the_channel() -> None:
    """Promise C3"""
    client, host = pair()
    frame = client.seal(b"once")
    assert host.open(frame) == b"once"
    breaks(host, frame)


def test_frames_out_of_order_break_the_channel() -> None:
    """Promise C3"""
    client, host = pair()
    client.seal(b"first")
    breaks(host, client.seal(b"second"))


def test_a_frame_does_not_open_in_the_direction_it_came_from() -> None:
    client, _ = pair()
    breaks(client, client.seal(b"mirror"))


def test_a_frame_of_another_channel_breaks_this_one() -> None:
    theirs = initiator(ephemeral=OTHER_EPHEMERAL)
    answered = responder().answer(theirs.message1, ephemeral_private=HOST_EPHEMERAL)
    breaks(pair()[1], theirs.finish(answered.message2).seal(b"hello"))


@pytest.mark.parametrize("size", [*range(64), 65_519, 65_535, 65_536, 1 << 20])
def test_garbage_of_every_length_breaks_the_channel_and_nothing_else(size: int) -> None:
    breaks(pair()[1], bytes(size))


def test_a_frame_over_the_limit_is_refused_even_if_the_other_side_sealed_it() -> None:
    secure = Secure(**ends(bytes(32), bytes(32)))
    breaks(secure, Cipher(bytes(32)).encrypt(bytes(channel.PLAINTEXT_BYTES_MAX + 1)))


TRICKS: Final[dict[str, Callable[[list[bytes], int], list[bytes]]]] = {
    "drop": lambda frames, at: frames[:at] + frames[at + 1 :],
    "repeat": lambda frames, at: frames[: at + 1] + frames[at:],
    "swap": lambda frames, at: frames[:at] + frames[at + 1 : at + 2] + frames[at : at + 1] + frames[at + 2 :],
    "insert": lambda frames, at: [*frames[:at], bytes(40), *frames[at:]],
    "shorten": lambda frames, at: [*frames[:at], frames[at][:-1], *frames[at + 1 :]],
    "cut": lambda frames, at: frames[:at],
}


@pytest.mark.parametrize("trick", TRICKS)
@given(said=st.lists(st.binary(min_size=1, max_size=40), max_size=6), data=st.data(), rekey_after=st.integers(1, 4))
def test_a_hostile_relay_gets_a_true_beginning_accepted_and_never_an_end(
    trick: str, said: list[bytes], data: st.DataObject, rekey_after: int
) -> None:
    """Promise C3: whatever it does, what is accepted is the beginning of what was said, and a cut is not an end."""
    client, host = pair(rekey_after=rekey_after)
    frames = [*map(client.seal, said), client.close()]
    at = data.draw(st.integers(0, len(frames) - 1))
    arrived = TRICKS[trick](frames, at)
    got: list[bytes] = []
    try:
        for frame in arrived:
            got.append(host.open(frame))
    except HoldError as error:
        assert isinstance(error, BadSeal | PeerClosed | ChannelClosed)
    assert got == said[: len(got)]
    assert host.closed == (arrived[: len(frames)] == frames)  # only with everything before it does the close count


# ---- ends ------------------------------------------------------------------------------------------------------------


def test_a_close_is_an_end_and_a_missing_close_is_a_cut() -> None:
    """Promise C7: a relay can cut, but it cannot make a cut look like an end."""
    client, host = pair()
    host.open(client.seal(b"last words"))
    assert not host.closed  # if the carrier ends here, it was cut
    with pytest.raises(PeerClosed):
        host.open(client.close())
    assert host.closed
    assert not host.broken
    dead(host)


def test_whoever_closed_says_nothing_more_but_hears_what_was_under_way() -> None:
    client, host = pair()
    under_way = [host.seal(b"late"), host.close()]
    client.close()
    assert not client.writable
    for more in (lambda: client.seal(b"x"), client.close):
        with pytest.raises(ChannelClosed, match="closed here"):
            more()
    assert client.open(under_way[0]) == b"late"
    with pytest.raises(PeerClosed):
        client.open(under_way[1])
    dead(client)


def test_a_close_cannot_be_had_before_its_turn() -> None:
    client, host = pair()
    client.seal(b"not delivered")
    breaks(host, client.close())


# ---- counting --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rekey_after", [1, 2, 3, 5])
def test_the_key_changes_exactly_at_the_boundary(rekey_after: int) -> None:
    """Promise C2"""
    cipher, secret = Cipher(bytes(32), rekey_after=rekey_after), bytes(32)
    for n in range(12):
        assert cipher.encrypt(b"x") == AESGCM(secret).encrypt(bytes(4) + n.to_bytes(8, "big"), b"x", None)
        if (n + 1) % rekey_after == 0:
            secret = AESGCM(secret).encrypt(bytes(4) + b"\xff" * 8, bytes(32), None)[:32]


def test_the_default_is_65536_messages_in_one_direction() -> None:
    cipher, nonce = Cipher(bytes(32), n=65_535), bytes(4) + (65_536).to_bytes(8, "big")
    assert cipher.encrypt(b"last") == AESGCM(bytes(32)).encrypt(bytes(4) + (65_535).to_bytes(8, "big"), b"last", None)
    new = AESGCM(bytes(32)).encrypt(bytes(4) + b"\xff" * 8, bytes(32), None)[:32]
    assert cipher.encrypt(b"first") == AESGCM(new).encrypt(nonce, b"first", None)


def test_sides_that_count_differently_part_at_the_boundary() -> None:
    client = initiator(rekey_after=2)
    answered = responder(rekey_after=3).answer(client.message1, ephemeral_private=HOST_EPHEMERAL)
    secure = client.finish(answered.message2)
    assert [answered.secure.open(secure.seal(b"x")) for _ in range(2)] == [b"x", b"x"]
    breaks(answered.secure, secure.seal(b"x"))


def test_a_frame_that_does_not_open_does_not_move_the_count() -> None:
    cipher, other = Cipher(bytes(32), rekey_after=1), Cipher(bytes(32), rekey_after=1)
    with pytest.raises(channel.InvalidTag):
        cipher.decrypt(bytes(32))
    assert (cipher.n, cipher.decrypt(other.encrypt(b"x"))) == (0, b"x")


def test_numbers_that_are_used_up_are_not_used_again() -> None:
    """The last number is REKEY's; a channel that came this far seals and opens nothing more."""
    last = channel.NONCE_END - 1
    client, host = (
        Secure(outward=Cipher(bytes(32), n=last), inward=Cipher(bytes(32), n=last), handshake_hash=bytes(32)) for _ in "ab"
    )  # fmt: skip
    assert host.open(client.seal(b"the last")) == b"the last"
    for ask in (lambda: client.seal(b"x"), client.close, lambda: host.open(bytes(20))):
        with pytest.raises(ChannelClosed, match="used up"):
            ask()


@pytest.mark.parametrize("make", [prologue, binding])
@pytest.mark.parametrize("size", [0, 31, 33])
def test_what_must_be_32_bytes_is(make: Callable[[bytes], bytes], size: int) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        make(bytes(size))


def test_the_page_gives_the_numbers_the_code_has() -> None:
    said = dict(re.findall(r"^\| `([A-Z0-9_]+)` \| ([\d,]+) \|", PAGE, re.MULTILINE))
    code = {
        name: value for name, value in vars(channel).items() if re.fullmatch("[A-Z0-9_]+", name) and type(value) is int
    }
    assert {name: int(value.replace(",", "")) for name, value in said.items()} == code
    assert f"`{channel.PROTOCOL.decode()}`" in PAGE
