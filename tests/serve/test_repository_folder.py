"""What a folder that is served holds, and what is said of everything else in it."""

import shutil

import pytest
from model_folders import put

from lenet_runtime.errors import ArtifactError, InputError
from lenet_serve.repository import RepositoryOptions
from lenet_serve.repository.scanning import scan


def test_one_artifact_is_version_1_of_the_name(tmp_path):
    put(tmp_path / "native-fp32")
    (place,) = scan(tmp_path / "native-fp32", "digits").places.items()
    assert place[0] == ("digits", 1)
    assert place[1].path == tmp_path / "native-fp32"


def test_versions_are_artifacts_or_hold_one(models):
    put(models / "a" / "2")
    put(models / "a" / "10" / "native-fp32")
    put(models / "b.c-D_1" / "1")
    found = scan(models, None)
    assert found.places.keys() == {("a", 2), ("a", 10), ("b.c-D_1", 1)}
    assert found.places["a", 10].path == models / "a" / "10" / "native-fp32"
    assert not found.notes
    assert not any(place.problem for place in found.places.values())


def test_links_are_followed(models, tmp_path):
    put(tmp_path / "releases" / "7")
    (models / "a").mkdir()
    (models / "a" / "1").symlink_to(tmp_path / "releases" / "7")
    (models / "b").symlink_to(models / "a")
    before = scan(models, None)
    assert before.places.keys() == {("a", 1), ("b", 1)}
    put(tmp_path / "releases" / "8")
    (models / "a" / "2").symlink_to(tmp_path / "releases" / "8")
    (models / "a" / "2").replace(models / "a" / "1")
    assert scan(models, None).places["a", 1] != before.places["a", 1]


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("README.md", "README.md: a file is passed over; models are folders NAME/VERSION/"),
        ("dangling", "dangling: a link that leads nowhere is passed over"),
        ("a b/", "a b: expected a model's name of letters, digits"),
        ("a\nb/", "expected a model's name of letters, digits"),
        ("é/", "é: expected a model's name"),
        ("empty/", "empty: expected versions in it"),
        ("a/notes.txt", "a/notes.txt: a file is passed over; versions are folders"),
        ("a/01/", "a/01: expected a version, a whole number from 1"),
        ("a/0/", "a/0: expected a version, a whole number from 1"),
        ("a/-1/", "a/-1: expected a version, a whole number from 1"),
        ("a/v2/", "a/v2: expected a version, a whole number from 1"),
        ("a/\u0661/", "a/\u0661: expected a version"),
        (f"a/{10**18}/", "expected a version"),
        ("native-fp32/manifest.json", "an artifact where a model's versions are expected; move it"),
    ],
)
def test_what_is_no_model_is_named_with_its_rule(models, path, said):
    put(models / "good" / "1")
    if path == "dangling":
        (models / path).symlink_to("nowhere")
    elif path.endswith("/"):
        (models / path).mkdir(parents=True)
    else:
        (models / path).parent.mkdir(exist_ok=True)
        (models / path).touch()
    found = scan(models, None)
    assert found.places.keys() == {("good", 1)}
    (note,) = found.notes
    assert said in note


def test_hidden_things_are_nobodys_models(models):
    put(models / "a" / "1")
    put(models / "a" / ".2.staging-0123")
    put(models / ".git" / "1")
    assert scan(models, None).places.keys() == {("a", 1)}
    assert not scan(models, None).notes


@pytest.mark.parametrize(
    ("inner", "said"), [((), "found no manifest.json"), (("x", "y"), "found x, y")]
)
def test_a_version_without_an_artifact_says_what_it_holds(models, inner, said):
    (models / "a" / "1").mkdir(parents=True)
    for name in inner:
        put(models / "a" / "1" / name)
    assert said in scan(models, None).places["a", 1].problem


def change(folder, how):
    if how == "file":
        (folder / "model.fake").write_bytes(b"ten pixelS!")
    elif how == "new file":
        (folder / "new").touch()
    elif how == "replaced":
        shutil.rmtree(folder)
        put(folder)
    elif how == "manifest":
        (folder / "manifest.json").write_bytes(b"{}")


@pytest.mark.parametrize("how", ["nothing", "file", "new file", "replaced", "manifest"])
def test_the_signature_tells_changes(models, how):
    folder = put(models / "a" / "1")
    before = scan(models, None)
    change(folder, how)
    assert (scan(models, None) == before) == (how == "nothing")


def test_a_folder_that_serves_nothing_says_what_it_holds(models, serving):
    put(models / "native-fp32")
    with pytest.raises(ArtifactError, match=r"serve it alone: lenet-deploy serve .*native-fp32"):
        serving()
    with pytest.raises(ArtifactError, match="expected an artifact, or a folder of models"):
        serving(models / "nowhere")


def test_options_that_cannot_be(models, serving):
    put(models / "a" / "1")
    with pytest.raises(InputError, match="name: expected none for a folder of models"):
        serving(name="a")
    with pytest.raises(ArtifactError, match="expected a model's name"):
        serving(models / "a" / "1", name="../a")
    with pytest.raises(InputError, match="expected one of all, latest, found 'lates'"):
        RepositoryOptions(models, versions="lates")
    with pytest.raises(InputError, match="poll_seconds: expected 0"):
        RepositoryOptions(models, poll_seconds=-1)
