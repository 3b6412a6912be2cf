"""Write out a real build of a few hundred files for `hold demo`, with a result that can be checked.

Every unit is different code over 32-bit arithmetic, which Python computes too: the finished program must print the same
sum. A C project with a Makefile where a compiler and make are; otherwise Python modules and a parallel byte-compiler.
"""

import random
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

UNITS: Final = 240  # files; a build of them takes 5 to 15 s on two cores
FUNCTIONS: Final = 40  # in each C file
MASK: Final = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Build:
    """``argv`` builds in ``folder``, saying one line per unit (``said(i)``); then ``program`` prints ``result``."""

    what: str
    folder: Path
    argv: tuple[str, ...]
    program: tuple[str, ...]
    result: str
    word: str  # what a line about a unit begins with
    suffix: str

    def said(self, unit: int) -> bytes:
        """Return the line the build says about ``unit``, without its end."""
        return f"{self.word} unit{unit:03}{self.suffix}".encode()


@dataclass(frozen=True, slots=True)
class _Step:
    """One function: ``turns`` times ``s = (s * factor + summand) ^ (s >> shift)``, modulo 2**32."""

    factor: int
    summand: int
    shift: int
    turns: int

    def apply(self, value: int) -> int:
        for _ in range(self.turns):
            value = ((value * self.factor + self.summand) & MASK) ^ (value >> self.shift)
        return value

    def in_c(self, name: str) -> str:
        return (
            f"static unsigned {name}(unsigned s) {{\n    for (unsigned turn = 0; turn < {self.turns}u; turn++)\n"
            f"        s = (s * {self.factor}u + {self.summand}u) ^ (s >> {self.shift});\n    return s;\n}}\n"
        )

    def in_python(self, name: str) -> str:
        return (
            f"def {name}(s):\n    for _ in range({self.turns}):\n"
            f"        s = ((s * {self.factor} + {self.summand}) & {MASK}) ^ (s >> {self.shift})\n    return s\n\n\n"
        )


def _units(functions: int) -> Iterator[tuple[int, list[_Step]]]:
    dice = random.Random(20)  # the same project every time: two runs can be compared
    for unit in range(UNITS):
        yield (
            unit,
            [
                _Step(dice.randrange(1, MASK, 2), dice.randrange(MASK), dice.randint(3, 19), dice.randint(5, 20))
                for _ in range(functions)
            ],
        )


def _sum(units: list[tuple[int, list[_Step]]]) -> str:
    total = 0
    for unit, steps in units:
        value = unit
        for step in steps:
            value = step.apply(value)
        total = (total + value) & MASK
    return f"{total:08x}\n"


MAKEFILE: Final = """\
CC = {cc}
program: main.o {objects}
\t@echo LINK $@
\t@$(CC) -o $@ $^
%.o: %.c
\t@echo CC $<
\t@$(CC) -O2 -c -o $@ $<
"""


def _write_c(folder: Path, cc: str) -> Build:
    units = list(_units(FUNCTIONS))
    for unit, steps in units:
        body = "".join(step.in_c(f"step{number}") for number, step in enumerate(steps))
        chain = "".join(f"    s = step{number}(s);\n" for number in range(len(steps)))
        text = f"{body}unsigned unit{unit:03}(unsigned s) {{\n{chain}    return s;\n}}\n"
        (folder / f"unit{unit:03}.c").write_text(text)
    declared = "".join(f"unsigned unit{unit:03}(unsigned);\n" for unit, _ in units)
    summed = "".join(f"    sum += unit{unit:03}({unit}u);\n" for unit, _ in units)
    shown = '    printf("%08x\\n", sum);\n    return 0;\n'
    main = f"#include <stdio.h>\n{declared}int main(void) {{\n    unsigned sum = 0;\n{summed}{shown}}}\n"
    (folder / "main.c").write_text(main)
    objects = " ".join(f"unit{unit:03}.o" for unit, _ in units)
    (folder / "Makefile").write_text(MAKEFILE.format(cc=cc, objects=objects))
    return Build(
        what=f"{UNITS + 1} C files, make -j2",
        folder=folder,
        argv=("make", "-j2"),
        program=(str(folder / "program"),),
        result=_sum(units),
        word="CC",
        suffix=".c",
    )


BUILDER: Final = """\
import concurrent.futures, pathlib, py_compile, zipfile

def compiled(name):
    print("PY", name + ".py", flush=True)
    return py_compile.compile(name + ".py", cfile=name + ".pyc", doraise=True, optimize=2)

if __name__ == "__main__":
    names = sorted(path.stem for path in pathlib.Path().glob("unit*.py"))
    with concurrent.futures.ProcessPoolExecutor(2) as pool:
        made = list(pool.map(compiled, names))
    print("LINK program.pyz", flush=True)
    with zipfile.ZipFile("program.pyz", "w", zipfile.ZIP_DEFLATED) as program:
        for name in made:
            program.write(name)
        program.write("main.py", "__main__.py")
"""
PYTHON_FUNCTIONS: Final = 24 * FUNCTIONS  # byte-compiling is quicker than an optimizing C compiler


def _write_python(folder: Path) -> Build:
    units = list(_units(PYTHON_FUNCTIONS))
    for unit, steps in units:
        body = "".join(step.in_python(f"step{number}") for number, step in enumerate(steps))
        chain = "".join(f"    s = step{number}(s)\n" for number in range(len(steps)))
        (folder / f"unit{unit:03}.py").write_text(f"{body}def unit(s):\n{chain}    return s\n")
    imports = "".join(f"import unit{unit:03}\n" for unit, _ in units)
    summed = " + ".join(f"unit{unit:03}.unit({unit})" for unit, _ in units)
    (folder / "main.py").write_text(f'{imports}print(f"{{({summed}) & {MASK}:08x}}")\n')
    (folder / "build.py").write_text(BUILDER)
    return Build(
        what=f"{UNITS} Python modules, two at a time (no C compiler and make here)",
        folder=folder,
        argv=(sys.executable, "-I", "build.py"),
        program=(sys.executable, "-I", str(folder / "program.pyz")),
        result=_sum(units),
        word="PY",
        suffix=".py",
    )


def write(folder: Path, *, compiler: bool = True) -> Build:
    """Write the project into the empty ``folder``. Without ``compiler`` Python is built even where C could be."""
    cc = shutil.which("cc") or shutil.which("gcc")
    if compiler and cc and shutil.which("make"):
        return _write_c(folder, cc)
    return _write_python(folder)
