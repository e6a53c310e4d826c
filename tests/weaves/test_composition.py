"""What is composed of what: the modules, beads and weaves of a tapestry, implied by [hosts] and explicit."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from _pytest.mark import ParameterSet

from weaves.tapestry import ModuleDescription, Tapestry, TapestryError, parse

# Parts of a tapestry in the explicit form.
MODULES = """
[modules.site]
run = "apps/site.py"
[modules.visit]
module = "apps.visit"
"""
STACK = """
[[beads]]
name = "stack"
module = "lunar"
eth0 = "10.0.0.1/24"
"""
BEADS = (
    STACK
    + """
[[beads]]
name = "site-1"
module = "site"
[[beads]]
name = "visit-1"
module = "visit"
"""
)

# Each entry: a title, a file, and after ">>>" the message with its line. $MODULES, $STACK and $BEADS put a part from
# above in front of the file, whose lines are not counted: they are line 0, -1 ... from below.
MISTAKES = """
== a module of neither kind
[modules.web]
>>> 1: [modules.web]: neither run nor module; expected run = "program.py" or module = "package.module"

== a module of both kinds
[modules.web]
run = "apps/site.py"
module = "apps.site"
>>> 1: [modules.web]: both run and module; expected run = "program.py" or module = "package.module"

== an unknown key of a module
[modules.web]
path = "x"
>>> 2: [modules.web] path: unknown key; expected one of isolate, module, run, share

== arguments of a module
[modules.web]
run = "apps/site.py --port 80"
>>> 2: [modules.web] run: "--port" is an argument; expected it in args of a string in [[weaves]]

== args of a module
[modules.web]
run = "apps/site.py"
args = "--port 80"
>>> 3: [modules.web] args: unknown key; expected them in the strings of [[weaves]]

== a program that is not there
[modules.web]
run = "apps/web.py"
>>> 2: [modules.web] run: there is no program "apps/web.py"; expected a Python file, from the tapestry's folder

== a program line that does not end
[modules.web]
run = "apps/site.py 'x"
>>> 2: [modules.web] run: No closing quotation

== a module that is not there
[modules.web]
module = "apps.web"
>>> 2: [modules.web] module: there is no module "apps.web"; expected one in the tapestry's folder or installed

== a module without code
[modules.web]
module = "apps"
>>> 2: [modules.web] module: "apps" is a folder without __init__.py; expected a module

== a module with the name of the network
[modules.lunar]
run = "apps/site.py"
>>> 1: [modules.lunar]: the module "lunar" is built in; expected another name

== a module with the name of the simulator
[modules.simulator]
run = "apps/site.py"
>>> 1: [modules.simulator]: the module "simulator" is built in; expected another name

== isolating a part of a package
[modules.web]
run = "apps/site.py"
isolate = ["pkg", "apps.visit"]
>>> 3: [modules.web] isolate[1]: "apps.visit" is in the package "apps"; expected whole packages

== isolating what is not there
[tapestry]
isolate = ["nothing"]
>>> 2: [tapestry] isolate[0]: there is no module "nothing"; expected one in the tapestry's folder or installed

== isolating what is in the interpreter
[tapestry]
isolate = ["sys"]
>>> 2: [tapestry] isolate[0]: "sys" is built into Python and there once; expected packages written in Python

== isolating the network
[tapestry]
isolate = ["lunar"]
>>> 2: [tapestry] isolate[0]: "lunar" is what runs the programs; expected packages that they use

== isolate for a host
[hosts.a]
isolate = ["pkg"]
>>> 2: [hosts.a] isolate: unknown key; expected it in [modules.NAME] or [tapestry]

== isolate for a string
[hosts.a]
strings = [{ run = "apps/site.py", isolate = ["pkg"] }]
>>> 2: [hosts.a] strings[0].isolate: unknown key; expected it in [modules.NAME] or [tapestry]

== sharing what is not a name
[modules.web]
run = "apps/site.py"
share = ["CACHE", "pkg.CACHE"]
>>> 3: [modules.web] share[1]: "pkg.CACHE" is not a name; expected one of the module, such as "CACHE", or
... "package.mod:CACHE"

== two modules for a string of a host
[modules.a]
run = "apps/site.py"
[modules.b]
run = "python apps/site.py"
[hosts.h]
strings = [{ run = "apps/site.py 1" }]
>>> 6: [hosts.h] strings[0].run: [modules.a] and [modules.b] both are this code; expected one, or a weave in
... [[weaves]] that says which

== a bead without a name
[[beads]]
module = "lunar"
>>> 1: [[beads]]: no name; expected a name that weaves can give

== a bead without a module
[[beads]]
name = "x"
>>> 1: [[beads]]: no module; expected "lunar", or one of [modules]

== a bead with a bad name
[[beads]]
name = "a b"
module = "lunar"
>>> 1: [[beads]]: "a b" is not a bead name; expected letters, digits, "-", "." and "_", such as "client-0"

== a bead of an unknown module
$MODULES
[[beads]]
name = "x"
module = "sites"
>>> 3: [[beads]] module: there is no module "sites"; did you mean "site"?

== sharing a name of a stack
[[beads]]
name = "x"
module = "lunar"
share = ["CACHE"]
>>> 4: [[beads]] share: unknown key; expected it in the [modules.NAME] that the bead is an instance of

== strings of a bead
[[beads]]
name = "x"
module = "lunar"
strings = []
>>> 4: [[beads]] strings: unknown key; expected them in a [[weaves]] that has this bead

== a device of a bead that is no stack
$MODULES
[[beads]]
name = "x"
module = "site"
eth0 = "10.0.0.1/24"
>>> 4: [[beads]] eth0: only a host's stack has devices; expected it on a bead of module "lunar"

== net of a bead that is no stack
$MODULES
[[beads]]
name = "x"
module = "site"
net = "sysctl -a"
>>> 4: [[beads]] net: only a host's stack has net; expected it on a bead of module "lunar"

== a bead and a host of one name
[[beads]]
name = "a"
module = "lunar"
[hosts.a]
>>> 1: [[beads]]: a host has the name "a" already, in line 4; expected a name of its own

== two beads of one name
$MODULES
$BEADS
[[beads]]
name = "site-1"
module = "visit"
>>> 1: [[beads]]: two beads have the name "site-1", first in line -5; expected a name of its own for each bead

== two simulators
[[beads]]
name = "a"
module = "simulator"
[[beads]]
name = "b"
module = "simulator"
>>> 4: [[beads]]: a run has one simulator, here in line 1; expected no other

== several simulators
[[beads]]
name = "a"
module = "simulator"
count = 2
>>> 4: [[beads]] count: a run has one simulator; expected no count

== a weave without a name
[[weaves]]
beads = []
>>> 1: [[weaves]]: no name; expected a name for the weave

== a weave of an unknown bead
$MODULES
$BEADS
[[weaves]]
name = "web"
beads = ["site-2", "stack"]
>>> 3: [[weaves]] beads[0]: there is no bead "site-2"; did you mean "site-1"?

== a weave of a group
$MODULES
[[beads]]
name = "stack"
module = "lunar"
count = 1000
[[weaves]]
name = "web"
beads = ["stack"]
>>> 7: [[weaves]] beads[0]: "stack" is a group of 1,000; expected one of it, such as "stack-0" or "stack-{i}"

== a weave whose bead depends on its host
$MODULES
$BEADS
[[weaves]]
name = "web"
beads = ["{host}", "site-1"]
>>> 3: [[weaves]] beads[0]: there is no bead "{host}"; expected one of site-1, stack, visit-1

== a weave with one bead twice
$MODULES
$BEADS
[[weaves]]
name = "web"
beads = ["site-1", "site-1", "stack"]
>>> 3: [[weaves]] beads[1]: "site-1" is there twice; expected each bead once

== a weave without a stack
$MODULES
$BEADS
[[weaves]]
name = "web"
beads = ["site-1"]
>>> 3: [[weaves]] beads: no lunar bead among them; expected one, the stack of the weave's host

== a weave with two stacks
$MODULES
$BEADS
[hosts.b]
[[weaves]]
name = "web"
beads = ["site-1", "stack", "b"]
>>> 4: [[weaves]] beads[2]: stack and b are both lunar beads; expected one, the stack of the weave's host

== a weave with no bead of the application
$STACK
[[weaves]]
name = "web"
beads = ["stack"]
>>> 3: [[weaves]] beads: no bead of the application among them; expected one of a module in [modules]

== a weave with two beads of one module
$MODULES
$BEADS
[[beads]]
name = "site-2"
module = "site"
[[weaves]]
name = "web"
beads = ["site-1", "stack", "site-2"]
>>> 6: [[weaves]] beads[2]: site-1 and site-2 are both instances of site; expected one, so that each name means one
... thing in the weave

== a weave with two beads of the same code
$MODULES
$BEADS
[modules.again]
module = "apps.visit"
[[beads]]
name = "again-1"
module = "again"
[[weaves]]
name = "web"
beads = ["visit-1", "stack", "again-1"]
>>> 8: [[weaves]] beads[2]: visit-1 and again-1 are both instances of the same code; expected one, so that each name
... means one thing in the weave

== a weave with two programs
$MODULES
$BEADS
[modules.runs]
run = "python -m runs"
[[beads]]
name = "runs-1"
module = "runs"
[[weaves]]
name = "web"
beads = ["site-1", "stack", "runs-1"]
>>> 8: [[weaves]] beads[2]: site-1 and runs-1 are both programs; expected one program in a weave

== a program that two weaves name
$MODULES
$BEADS
[[weaves]]
name = "web"
beads = ["site-1", "stack"]
[[weaves]]
name = "again"
beads = ["site-1", "stack"]
>>> 4: [[weaves]]: "site-1" is the program of the weave "web" already; expected a bead of its own, and share in
... [modules.site]

== two beads of one package that are not in the same weaves
$MODULES
$BEADS
[modules.other]
module = "apps.site"
[[beads]]
name = "other-1"
module = "other"
[[weaves]]
name = "left"
beads = ["visit-1", "other-1", "stack"]
[[weaves]]
name = "right"
beads = ["visit-1", "stack"]
>>> 6: [[weaves]]: "visit-1" and "other-1" are of one package, which a weave has once; expected both in the same
... weaves

== two weaves of one name
$MODULES
$BEADS
[[weaves]]
name = "web"
beads = ["site-1", "stack"]
[[weaves]]
name = "web"
beads = ["site-1", "stack"]
>>> 4: [[weaves]]: two weaves have the name "web", first in line 1; expected a name of its own for each weave

== a weave with the name of a string of its host
$MODULES
$BEADS
[hosts.a]
strings = [{ run = "apps/site.py" }]
[[weaves]]
name = "site"
beads = ["site-1", "a"]
>>> 3: [[weaves]]: a string of a is a weave "site" already, in line 2; expected another name

== run in a string of a weave
$MODULES
$BEADS
[[weaves]]
name = "web"
beads = ["site-1", "stack"]
strings = [{ run = "apps/site.py" }]
>>> 4: [[weaves]] strings[0].run: a weave runs the program among its beads; expected run in [modules.NAME], and args
... here

== a string that runs a program that is not there
$MODULES
$BEADS
[[weaves]]
name = "web"
beads = ["visit-1", "stack"]
strings = [{ args = "80" }]
>>> 4: [[weaves]] strings[0]: no bead of the weave is a program, and there is no call; expected call, or a bead of a
... module that has run

== a program that runs twice in a weave
$MODULES
$BEADS
[[weaves]]
name = "web"
beads = ["site-1", "stack"]
strings = [{}, { args = "80" }]
>>> 4: [[weaves]] strings[1]: a second string that runs the weave's program; expected one, the others with call, or
... another weave

== a call of a module that is no bead
$MODULES
$BEADS
[[weaves]]
name = "web"
beads = ["visit-1", "stack"]
strings = [{ call = "json.tool:main" }]
>>> 4: [[weaves]] strings[0].call: no bead of the weave is an instance of "json.tool"; expected a function in
... apps.visit

== a call where no bead is imported
$MODULES
$BEADS
[[weaves]]
name = "web"
beads = ["site-1", "stack"]
strings = [{ call = "json.tool:main" }]
>>> 4: [[weaves]] strings[0].call: no bead of the weave is an instance of "json.tool"; expected one that is

== arguments in one text for a call
$MODULES
$BEADS
[[weaves]]
name = "web"
beads = ["visit-1", "stack"]
strings = [{ call = "apps.visit:main", args = "80" }]
>>> 4: [[weaves]] strings[0].args: "80" is a string; expected an array

== an argument of a program that is no string
$MODULES
$BEADS
[[weaves]]
name = "web"
beads = ["site-1", "stack"]
strings = [{ args = ["--port", 80] }]
>>> 4: [[weaves]] strings[0].args[1]: 80 is an integer; expected a string

== arguments of a program that do not end
$MODULES
$BEADS
[[weaves]]
name = "web"
beads = ["site-1", "stack"]
strings = [{ args = "'x" }]
>>> 4: [[weaves]] strings[0].args: No closing quotation; expected the arguments of a program

== keywords for a program
$MODULES
$BEADS
[[weaves]]
name = "web"
beads = ["site-1", "stack"]
strings = [{ kwargs = { port = 80 } }]
>>> 4: [[weaves]] strings[0].kwargs: there is no call to pass these to; expected args, the words after the program

== a link of an unknown stack
$STACK
[[links]]
ends = ["stack", "stock"]
>>> 2: [[links]] ends[1]: there is no host "stock"; did you mean "stack"?
"""


def mistakes() -> list[ParameterSet]:
    cases = []
    for entry in MISTAKES.split("== ")[1:]:
        title, _, rest = entry.partition("\n")
        text, _, message = rest.partition(">>> ")
        cases.append(pytest.param(text, message.strip().replace("\n...", ""), id=title))
    return cases


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of site.toml, with programs and modules that fail the test when something imports them."""
    for name in ("apps/site.py", "apps/visit.py", "pkg/__init__.py", "runs/__init__.py", "runs/__main__.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("raise AssertionError('a description imports nothing')\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def tapestry(text: str) -> Tapestry:
    return parse(text, "site.toml")


def names(made: Tapestry) -> list[str]:
    return [f"{weave.name} on {weave.host}" for weave in made.weaves]


def modules_of(made: Tapestry) -> list[ModuleDescription]:
    return [weave.beads[0].module for weave in made.weaves]


@pytest.mark.parametrize(("text", "message"), mistakes())
def test_a_mistake_names_line_table_key_and_what_was_expected(text: str, message: str) -> None:
    parts = {"$MODULES\n": MODULES, "$STACK\n": STACK, "$BEADS\n": BEADS}
    before = "".join(part for name, part in parts.items() if name in text)
    for name in parts:
        text = text.replace(name, "")
    with pytest.raises(TapestryError) as caught:
        tapestry(before + text)
    message = re.sub(r"(^|in line )(-?\d+)", lambda found: found[1] + str(int(found[2]) + before.count("\n")), message)
    assert str(caught.value) == f"site.toml:{message}"


# The short hand


def test_each_string_of_a_host_is_a_weave() -> None:
    made = tapestry(
        """
        [hosts.a]
        strings = [{ run = "apps/site.py" }, { run = "apps/site.py 2" }, { call = "apps.visit:visit", name = "v" }]
        [hosts.b]
        count = 2
        strings = [{ run = "apps/visit.py {i}" }]
        [hosts.c]
        """
    )
    assert names(made) == ["site on a", "site #2 on a", "v on a", "visit on b-0", "visit on b-1"]
    assert [weave.strings for weave in made.weaves[:3]] == [(string,) for string in made.hosts[0].strings]
    assert made.weaves[1].where == made.hosts[0].strings[1].where


def test_a_string_of_a_host_has_a_bead_of_its_own() -> None:
    made = tapestry('[hosts.a]\ncount = 2\nstrings = [{ run = "apps/site.py" }]\n')
    (first,), (second,) = (weave.beads for weave in made.weaves)
    assert (first.name, second.name) == ("site", "site")
    assert first is not second
    assert first != second, "beads are compared by what they are, not by their names"
    assert first.module is second.module


def test_the_module_of_a_string_is_its_code_without_arguments() -> None:
    made = tapestry(
        """
        [hosts.a]
        strings = [
          { run = "apps/site.py --port 80" },
          { run = "python3 apps/site.py --port 81" },
          { run = "python -m json.tool x" },
          { call = "apps.visit:visit" },
          { call = "apps.visit:main" },
          { call = "json.tool:main" },
        ]
        """
    )
    site, other_site, tool, visit, other_visit, imported_tool = modules_of(made)
    assert (site.name, site.run, site.module) == ("apps/site.py", ("apps/site.py",), None)
    assert other_site is site
    assert (tool.name, tool.run, tool.module) == ("json.tool", ("python", "-m", "json.tool"), None)
    assert (visit.name, visit.run, visit.module) == ("apps.visit", None, "apps.visit")
    assert other_visit is visit
    # What `python -m` runs is __main__, another module than the one that is imported.
    assert (imported_tool.name, imported_tool.run, imported_tool.module) == ("json.tool", None, "json.tool")
    assert (site.isolate, site.share) == (None, ())


def test_a_named_module_says_what_strings_of_the_same_code_isolate_and_share() -> None:
    made = tapestry(
        """
        [modules.web]
        run = "python apps/site.py"
        isolate = ["apps", "pkg"]
        share = ["CACHE", "pkg.mod:REGISTRY"]
        [hosts.a]
        strings = [{ run = "apps/site.py 1" }, { call = "apps.site:main" }]
        """
    )
    program, imported = modules_of(made)
    assert (program.name, program.run) == ("web", ("apps/site.py",))
    assert (program.isolate, program.share) == (("apps", "pkg"), ("CACHE", "pkg.mod:REGISTRY"))
    assert (imported.name, imported.isolate, imported.share) == ("apps.site", None, ())


def test_isolate_of_the_tapestry_is_for_modules_without_their_own() -> None:
    made = tapestry(
        """
        [tapestry]
        isolate = ["apps", "json"]
        [modules.runs]
        run = "python -m runs"
        isolate = []
        [hosts.a]
        strings = [{ run = "apps/site.py" }, { run = "python -m runs" }, { call = "apps.visit:main" }]
        """
    )
    assert [module.isolate for module in modules_of(made)] == [("apps", "json"), (), ("apps", "json")]


# The explicit form


def test_a_weave_has_beads_a_stack_and_strings() -> None:
    made = tapestry(
        f"""{MODULES}{BEADS}
        [[weaves]]
        name = "web"
        beads = ["site-1", "stack", "visit-1"]
        on_error = "continue"
        strings = [
          {{ args = "--port 80 'a b'", background = true }},
          {{ call = "apps.visit:main", args = [80], kwargs = {{ x = 1 }}, start = "1s", on_error = "restart" }},
        ]
        """
    )
    (weave,) = made.weaves
    assert (weave.name, weave.host) == ("web", "stack")
    assert [(bead.name, bead.module.name) for bead in weave.beads] == [("site-1", "site"), ("visit-1", "visit")]
    program, called = weave.strings
    assert (program.name, program.run, program.call) == ("site", ("apps/site.py", "--port", "80", "a b"), None)
    assert (program.background, program.on_error) == (True, "continue")
    assert (called.name, called.run, called.call) == ("main", None, "apps.visit:main")
    assert (called.args, called.kwargs, called.start_ns, called.on_error) == ((80,), {"x": 1}, 10**9, "restart")


def test_a_stack_among_the_beads_is_a_host() -> None:
    made = tapestry(
        """
        [[beads]]
        name = "a"
        module = "lunar"
        eth0 = "10.0.0.1/24"
        net = "sysctl -w net.ipv4.ip_forward=1"
        names = ["www"]
        [[beads]]
        name = "b"
        module = "lunar"
        eth0 = "10.0.0.{i+2}/24"
        count = 2
        [hosts.c]
        eth0 = "10.0.0.9/24"
        [[links]]
        ends = ["a", "b", "c"]
        """
    )
    assert [(host.name, host.group, host.index) for host in made.hosts] == [
        ("c", "c", 0), ("a", "a", 0), ("b-0", "b", 0), ("b-1", "b", 1),
    ]  # fmt: skip
    stack = made.hosts[1]
    assert (stack.names, [line.text for line in stack.net]) == (("www",), ["sysctl -w net.ipv4.ip_forward=1"])
    assert stack.strings == ()
    assert stack.devices[0].addresses == ((0x0A000001, 24),)
    assert made.links[0].ends == (("a", "eth0"), ("b-0", "eth0"), ("b-1", "eth0"), ("c", "eth0"))


def test_a_bead_that_two_weaves_name_is_one() -> None:
    made = tapestry(
        f"""{MODULES}{BEADS}
        [[weaves]]
        name = "first"
        beads = ["site-1", "visit-1", "stack"]
        [[weaves]]
        name = "second"
        beads = ["visit-1", "stack"]
        """
    )
    first, second = made.weaves
    assert first.beads[1] is second.beads[0]
    assert first.host == second.host == "stack"


def test_two_beads_of_one_package_can_be_in_the_same_weaves() -> None:
    made = tapestry(
        f"""{MODULES}{BEADS}
        [modules.other]
        module = "apps.site"
        [[beads]]
        name = "other-1"
        module = "other"
        [[weaves]]
        name = "left"
        beads = ["visit-1", "other-1", "stack"]
        [[weaves]]
        name = "right"
        beads = ["other-1", "visit-1", "stack"]
        """
    )
    assert len(made.weaves) == 2


def test_a_weave_can_use_the_stack_of_a_host_with_strings() -> None:
    made = tapestry(
        f"""{MODULES}{BEADS}
        [[weaves]]
        name = "web"
        beads = ["site-1", "a"]
        [hosts.a]
        strings = [{{ run = "apps/site.py" }}]
        """
    )
    assert names(made) == ["site on a", "web on a"]
    assert made.weaves[0].beads[0] is not made.weaves[1].beads[0]
    assert made.weaves[0].beads[0].module is made.weaves[1].beads[0].module


def test_groups_of_beads_and_weaves() -> None:
    made = tapestry(
        f"""{MODULES}
        [[beads]]
        name = "stack"
        module = "lunar"
        count = 2
        [[beads]]
        name = "site"
        module = "site"
        count = 4
        [[beads]]
        name = "cache"
        module = "visit"
        [[weaves]]
        name = "web"
        count = 4
        beads = ["site-{{i}}", "stack-{{i//2}}", "cache"]
        strings = [{{ args = "{{host}} {{i}}", start = "{{i}}s" }}]
        """
    )
    assert names(made) == ["web-0 on stack-0", "web-1 on stack-0", "web-2 on stack-1", "web-3 on stack-1"]
    assert [weave.beads[0].name for weave in made.weaves] == ["site-0", "site-1", "site-2", "site-3"]
    assert len({id(weave.beads[1]) for weave in made.weaves}) == 1
    assert made.weaves[3].strings[0].run == ("apps/site.py", "stack-1", "3")
    assert made.weaves[3].strings[0].start_ns == 3 * 10**9


def test_the_arguments_of_a_program_can_be_an_array() -> None:
    made = tapestry(
        f"""{MODULES}{BEADS}
        [[weaves]]
        name = "web"
        beads = ["site-1", "stack"]
        strings = [{{ args = ["--title", "a 'b {{i}}"] }}]
        """
    )
    assert made.weaves[0].strings[0].run == ("apps/site.py", "--title", "a 'b 0")


def test_the_simulator_can_have_a_name() -> None:
    assert tapestry(STACK).simulator == "simulator"
    made = tapestry(
        f"""{MODULES}{BEADS}
        [[beads]]
        name = "net"
        module = "simulator"
        [[weaves]]
        name = "web"
        beads = ["site-1", "stack", "net"]
        """
    )
    assert made.simulator == "net"
    assert [bead.name for bead in made.weaves[0].beads] == ["site-1"]


def test_strings_know_where_their_keys_stand() -> None:
    made = tapestry(
        f"""{MODULES}{BEADS}
        [[weaves]]
        name = "web"
        beads = ["site-1", "stack"]
        strings = [{{ args = "1" }}]
        [hosts.a]
        strings = [{{ run = "apps/site.py" }}, {{ run = "apps/site.py" }}]
        """
    )
    assert [weave.strings[0].path for weave in made.weaves] == [
        ("hosts", "a", "strings", 0), ("hosts", "a", "strings", 1), ("weaves", 0, "strings", 0),
    ]  # fmt: skip
