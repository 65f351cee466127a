"""Changing the CA without cutting anybody off, and being told who would be."""

from __future__ import annotations

from pathlib import Path

import pytest
from OpenSSL import crypto
from unit.certs import forge

from certs.authority import Authority
from certs.authority_state import Phase, Plan
from certs.chain import rejection
from certs.errors import AuthorityError, UnsafeStep
from certs.identity import Identity, Role
from certs.issued import Record, publish_issued
from certs.material import Material
from certs.preflight import preflight
from certs.probe import ChainLink, LivePeer, Served
from certs.profiles import LeafRequest
from certs.revocation import revoke, write_crls
from certs.rollover import MAX_NAMED, Root, SidecarView, finish, finish_obstacles, start, switch, switch_obstacles
from certs.sources.local_authority import LocalAuthoritySource

REQUEST = LeafRequest(dns=("web.internal",))


@pytest.fixture
def clock() -> forge.ManualClock:
    return forge.ManualClock()


@pytest.fixture
def authority(tmp_path: Path, clock: forge.ManualClock) -> Authority:
    return Authority.create(tmp_path / "pki", Plan("Dev CA"), clock)


def link_of(material: Material) -> tuple[ChainLink, ...]:
    """As peers show it: without the root."""
    identities = [Identity.from_certificate(each) for each in (material.leaf, *material.chain)]
    return tuple(ChainLink(identity.sha256, identity.issuer) for identity in identities)


def view_of(material: Material, *peers: Material) -> SidecarView:
    served = Served(
        material.identity.serial,
        1,
        "files",
        tuple(each.sha256 for each in material.trust),
        link_of(material),
        ("127.0.0.1:1",),
    )
    live = tuple(LivePeer(n, "web", peer.identity.name, link_of(peer)) for n, peer in enumerate(peers, start=1))
    return SidecarView(served, live)


def accepted_by(material: Material, verifier: Material) -> bool:
    """Whether ``verifier``'s trust bundle accepts ``material``'s leaf."""
    flags = crypto.X509StoreFlags.PARTIAL_CHAIN
    return rejection(material.leaf, material.chain, verifier.trust, forge.NOW, flags) is None


def test_the_whole_way_round_with_everybody_served(authority: Authority) -> None:
    """Two sidecars that talk to each other, each taking its new material in the order the steps allow."""
    old = [authority.issue(REQUEST, "test"), authority.issue(REQUEST, "test")]
    start(authority, "test")
    started = [authority.issue(REQUEST, "test") for _ in old]
    assert all(len(material.trust) == 2 for material in started)
    for mine, theirs in ((started[0], old[1]), (old[0], started[1])):
        assert accepted_by(mine, theirs)
        assert accepted_by(theirs, mine)
    with pytest.raises(UnsafeStep, match=r"/b\.sock does not trust the new CA yet"):
        switch(authority, {"/a.sock": view_of(started[0]), "/b.sock": view_of(old[1])}, "test")
    assert authority.state().phase is Phase.STARTED

    switch(authority, {"/a.sock": view_of(started[0]), "/b.sock": view_of(started[1])}, "test")
    switched = [authority.issue(REQUEST, "test") for _ in old]
    assert all(material.leaf.issuer.text == "CN=Dev CA Intermediate 2" for material in switched)
    for mine, theirs in ((switched[0], started[1]), (started[0], switched[1])):
        assert accepted_by(mine, theirs)
        assert accepted_by(theirs, mine)
    with pytest.raises(UnsafeStep) as raised:
        finish(authority, {"/a.sock": view_of(switched[0], started[1]), "/b.sock": view_of(started[1])}, "test")
    assert "web.internal is connected to /a.sock (web) with a certificate of the old CA" in str(raised.value)
    assert "/b.sock itself serves a certificate of the old CA" in str(raised.value)
    assert authority.state().phase is Phase.SWITCHED

    views = {"/a.sock": view_of(switched[0], switched[1]), "/b.sock": view_of(switched[1], switched[0])}
    finish(authority, views, "test")
    finished = authority.issue(REQUEST, "test")
    assert finished.trust == (authority.root("ca-2"),)
    assert accepted_by(finished, switched[1])
    assert accepted_by(switched[1], finished)
    assert not accepted_by(old[0], finished)
    assert (authority.directory / "ca.crt").read_bytes().count(b"BEGIN") == 1
    steps = [entry["step"] for entry in authority.journal.entries() if entry["event"] == "rollover"]
    assert steps == ["start", "switch", "finish"]


def test_it_can_be_done_again(authority: Authority) -> None:
    for number in (2, 3):
        start(authority, "test")
        switch(authority, {}, "test")
        assert finish(authority, {}, "test").active == f"ca-{number}"
    assert authority.issue(REQUEST, "test").trust == (authority.root("ca-3"),)


def test_steps_come_in_order(authority: Authority) -> None:
    for step in (switch, finish):
        with pytest.raises(AuthorityError, match="the next step is start"):
            step(authority, {}, "test")
    start(authority, "test")
    with pytest.raises(AuthorityError, match="the next step is switch"):
        start(authority, "test")
    with pytest.raises(AuthorityError, match="the next step is switch"):
        finish(authority, {}, "test")
    switch(authority, {}, "test")
    with pytest.raises(AuthorityError, match="the next step is finish"):
        switch(authority, {}, "test")


def test_a_chain_is_told_by_its_root_or_by_who_issued_its_last(authority: Authority) -> None:
    material = authority.issue(REQUEST, "test")
    root = Root.of(authority.root("ca-1"))
    other = Root.of(forge.authority("Other").read)
    shown = link_of(material)
    with_root = (*shown, ChainLink(root.sha256, root.subject))
    for chain in (shown, with_root):
        assert root.ends(chain)
        assert not other.ends(chain)
    assert not root.ends(())
    assert not root.ends(shown[:1])  # a leaf alone, issued by the intermediate: nothing says whose that is


def test_obstacles_name_everyone_but_not_without_end(authority: Authority) -> None:
    old = authority.issue(REQUEST, "test")
    start(authority, "test")
    new_root, old_root = Root.of(authority.root("ca-2")), Root.of(authority.root("ca-1"))
    fresh = authority.issue(REQUEST, "test")
    crowd = {"/a.sock": view_of(fresh, *[old] * 50)}
    assert switch_obstacles(new_root, crowd) == []
    assert len(finish_obstacles(old_root, new_root, crowd)) == 51
    switch(authority, {}, "test")
    with pytest.raises(UnsafeStep) as raised:
        finish(authority, crowd, "test")
    assert str(raised.value).count("\n") == MAX_NAMED + 1
    assert "and 31 more" in str(raised.value)


def test_a_hostile_peer_name_is_inert_in_the_message(authority: Authority) -> None:
    old = authority.issue(REQUEST, "test")
    start(authority, "test")
    peer = LivePeer(1, "web", "evil\x1b[2J\nfinish done", link_of(old))
    view = SidecarView(view_of(old).served, (peer,))
    obstacles = finish_obstacles(Root.of(authority.root("ca-1")), Root.of(authority.root("ca-2")), {"/a": view})
    assert not any("\x1b" in text or "\n" in text for text in obstacles)


async def test_a_sidecar_on_the_ca_follows_by_itself(authority: Authority, clock: forge.ManualClock) -> None:
    source = LocalAuthoritySource(authority.directory, dns=["web.internal"], clock=clock)
    prints = [source.fingerprint()]
    roots = [len((await source.renew()).trust)]
    for step in (lambda: start(authority, "t"), lambda: switch(authority, {}, "t"), lambda: finish(authority, {}, "t")):
        step()
        prints.append(source.fingerprint())
        roots.append(len((await source.renew()).trust))
    assert len(set(prints)) == 4
    assert roots == [1, 2, 2, 1]
    assert (await source.renew()).trust == (authority.root("ca-2"),)


def test_revocation_lists_follow(authority: Authority, clock: forge.ManualClock) -> None:
    revoke(authority, authority.issue(REQUEST, "test").identity.serial, "test")
    lists = [len(authority.crls())]
    for step in (lambda: start(authority, "t"), lambda: switch(authority, {}, "t"), lambda: finish(authority, {}, "t")):
        step()
        lists.append(len(authority.crls()))
        # Fit to serve at every step; the other generation's intermediate is known to its leaves only.
        warnings = preflight(authority.issue(REQUEST, "test"), list(Role), clock.now())
        assert len(warnings) == (1 if authority.state().phase is not Phase.STEADY else 0)
    assert lists == [2, 4, 4, 2]
    assert len(write_crls(authority)) == 2


def test_a_crash_between_state_and_bundle_is_mended(authority: Authority, tmp_path: Path) -> None:
    bundle = authority.directory / "ca.crt"
    before = bundle.read_bytes()
    start(authority, "test")
    both = bundle.read_bytes()
    bundle.write_bytes(before)  # as if it died after the state was written
    authority.issue(REQUEST, "test")
    assert bundle.read_bytes() == both


def test_a_generation_left_by_a_crash_is_not_used(authority: Authority) -> None:
    leftover = authority.directory / "ca-2"
    leftover.mkdir()
    (leftover / "root.crt").write_text("half")
    start(authority, "test")
    assert authority.root("ca-2").subject.text == "CN=Dev CA Root 2"


def test_published_sets_carry_the_bundle_of_their_time(
    authority: Authority, clock: forge.ManualClock, tmp_path: Path
) -> None:
    start(authority, "test")
    material = authority.issue(REQUEST, "test")
    publish_issued(tmp_path / "out", material, Record(REQUEST, authority.directory, ""), clock.now())
    assert (tmp_path / "out" / "ca.crt").read_bytes() == (authority.directory / "ca.crt").read_bytes()
