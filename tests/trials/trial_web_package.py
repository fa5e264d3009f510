"""What npm makes of a web artifact: a package that installs, type-checks and answers."""

import json
import shutil
import subprocess

import pytest
from every_format import needs_web
from processes import REPOSITORY

TYPESCRIPT = REPOSITORY / ".cache" / "web-types"  # which Git ignores
QUIET = ("--no-audit", "--no-fund", "--ignore-scripts", "--no-package-lock")
RUN = """
import { load, network } from "lenet-int8";
import { readFileSync } from "node:fs";
const digit = new Uint8Array(784);
for (let y = 4; y < 24; y++) digit.fill(255, 28 * y + 13, 28 * y + 16);
const wasm = readFileSync(new URL(import.meta.resolve("lenet-int8/lenet.wasm")));
const answers = [await load(), await load(wasm)].map((net) => net.predict(digit).label);
console.log(JSON.stringify({ answers, precision: network.precision }));
"""
WRONG = 'import { load } from "lenet-int8"; (await load()).predict("seven");'


def run(folder, *command, code=0):
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, timeout=300
    )
    if code == 0 and "npm" in command[0] and "network" in done.stderr:
        pytest.skip(f"npm reaches no registry: {done.stderr[:200]}")
    assert (done.returncode == 0) == (code == 0), done.stdout + done.stderr
    return done.stdout


@needs_web
def test_npm_packs_it_and_typescript_and_node_take_the_package(exported, tmp_path):
    if shutil.which("npm") is None:
        pytest.skip("no npm on PATH")
    artifact = exported("web", precision="int8")
    (package,) = json.loads(run(tmp_path, "npm", "pack", "--json", str(artifact.path)))
    files = {file["path"] for file in package["files"]}
    assert files == {"lenet.js", "lenet.d.ts", "lenet.wasm", "index.html", "package.json"}
    (tmp_path / "package.json").write_text('{"name": "user", "private": true, "type": "module"}')
    run(tmp_path, "npm", "install", *QUIET, f"./{package['filename']}")
    (tmp_path / "run.js").write_text(RUN)
    answers = json.loads(run(tmp_path, "node", "run.js"))
    assert answers == {"answers": ["1", "1"], "precision": "int8"}
    if not (TYPESCRIPT / "node_modules").is_dir():
        TYPESCRIPT.mkdir(parents=True, exist_ok=True)
        run(TYPESCRIPT, "npm", "install", "--prefix", ".", *QUIET, "typescript")
    tsc = str(TYPESCRIPT / "node_modules" / ".bin" / "tsc")
    options = ("--noEmit", "--strict", "--target", "es2022", "--module", "nodenext",
               "--lib", "es2022,dom", "--types", "")  # fmt: skip
    shutil.copy(REPOSITORY / "docs" / "web" / "example.ts", tmp_path)
    run(tmp_path, tsc, *options, "example.ts")
    (tmp_path / "wrong.ts").write_text(WRONG)
    assert "not assignable to parameter" in run(tmp_path, tsc, *options, "wrong.ts", code=1)
