"""What is to be made, as work of a denoiser: what is usual where nobody says, and what no model makes."""

from __future__ import annotations

import pytest

from inferprint import Catalogue
from inferprint.errors import InvalidInput
from inferprint.modalities.media import MediaWork, Size
from inferprint.provenance.trace import Entry
from inferprint.rates.making import Making
from inferprint.rates.media import MediaReader, modality_of

CATALOGUE = Catalogue.packaged()
MPX = 2**20


def asked(name: str, **work) -> tuple[dict[str, float], dict[str, Entry]]:
    """Columns of what is asked of a model, and what was assumed, by field."""
    model, media = CATALOGUE.models[name], CATALOGUE.media[name]
    columns, trail = Making(CATALOGUE, model, media, modality_of(CATALOGUE, model)).work(MediaWork(**work))[:2]
    return columns, {entry.field: entry for entry in trail.entries}


def pictures(*sizes: tuple[int, int]) -> tuple[Size, ...]:
    return tuple(Size(*size) for size in sizes)


# --- usual ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, width, height, steps, evaluations",
    [
        # Defaults of the published pipelines
        ("flux.1-dev", 1024, 1024, 28, 1),
        ("flux.1-schnell", 1024, 1024, 4, 1),
        ("sd-1.5", 512, 512, 50, 2),
        ("sdxl-base", 1024, 1024, 50, 2),
        ("sdxl-turbo", 512, 512, 1, 1),
        ("sd3.5-large", 1024, 1024, 28, 2),
        ("qwen-image", 1328, 1328, 50, 2),
        ("sana-1.6b", 1024, 1024, 20, 2),
    ],
)
def test_a_usual_picture(name, width, height, steps, evaluations):
    columns, assumed = asked(name)
    assert columns["evaluations"] == steps * evaluations
    assert columns["evaluation_volume"] == pytest.approx(steps * evaluations * width * height / MPX, rel=1e-12)
    assert columns["output_volume"] == pytest.approx(width * height / MPX, rel=1e-12)
    assert (assumed["output_images"].value, assumed["input_steps"].value) == (f"{width}x{height}", steps)


@pytest.mark.parametrize(
    "name, size, frames", [("wan2.1-14b", "832x480", 81), ("hunyuanvideo", "1280x720", 129), ("svd-xt", "1024x576", 25)]
)
def test_a_usual_clip(name, size, frames):
    columns, assumed = asked(name)
    width, height = map(int, size.split("x"))
    assert assumed["output_video_resolution"].value == size
    assert assumed["output_video_frames"].value == frames
    assert columns["output_volume"] == pytest.approx(frames * width * height / MPX, rel=1e-12)


@pytest.mark.parametrize("name", ["flux.1-dev", "wan2.1-14b", "ace-step"])
def test_what_is_usual_names_its_source(name):
    _, assumed = asked(name)
    assert assumed
    for entry in assumed.values():
        assert (entry.how, entry.source in CATALOGUE.sources) == ("assumed", True), entry.field
        assert entry.date.startswith("20"), entry.field


def test_what_is_stated_is_not_assumed():
    _, assumed = asked("flux.1-dev", steps=20, evaluations_per_step=1, output_images=pictures((768, 768)))
    assert assumed == {}


def test_so_many_pictures_of_the_usual_size():
    columns, assumed = asked("flux.1-dev", steps=10, evaluations_per_step=1, output_images=(None, None, None))
    assert (columns["outputs"], columns["output_volume"], columns["evaluations"]) == (3.0, 3.0, 30.0)
    assert assumed["output_images"].value == "1024x1024"


def test_pictures_of_several_sizes():
    columns, _ = asked("flux.1-dev", steps=10, output_images=pictures((1024, 1024), (512, 512)))
    assert (columns["outputs"], columns["output_volume"]) == (2.0, 1.25)


def test_a_prompt_is_encoded_once_for_all_pictures():
    assert asked("flux.1-dev", output_images=(None,) * 5)[0]["prompts"] == 1.0


class TestClips:
    @pytest.mark.parametrize(
        "lines, size",
        [
            (480, "854x480"),  # 853.3, to an even number as players do
            (720, "1280x720"),
            (1080, "1920x1080"),
            (360, "640x360"),
        ],
    )
    def test_lines_alone_are_16_to_9(self, lines, size):
        columns, assumed = asked("wan2.1-14b", output_video_size=lines, output_video_frames=1.0)
        width, height = map(int, size.split("x"))
        assert assumed["output_video_resolution"].value == size
        assert columns["output_volume"] == width * height / MPX

    @pytest.mark.parametrize(
        "work, frames",
        [
            ({"output_video_frames": 33.0}, 33),
            ({"output_video_seconds": 5.0, "output_video_frames_per_s": 24.0}, 121),  # 120, in whole latent frames
            ({"output_video_seconds": 2.0}, 33),  # 32 at the 16 frames per second of Wan 2.1
            ({"output_video_seconds": 0.001}, 1),
        ],
    )
    def test_frames(self, work, frames):
        columns, _ = asked("wan2.1-14b", output_video_size=Size(1024, 1024), **work)
        assert columns["output_volume"] == frames

    def test_a_rate_alone_is_one_of_a_clip_of_the_usual_length(self):
        # 5.06 s, as 81 frames at 16 per second, at 24 per second: 121 frames
        columns, _ = asked("wan2.1-14b", output_video_size=Size(1024, 1024), output_video_frames_per_s=24.0)
        assert columns["output_volume"] == 121

    def test_the_usual_rate_is_recorded(self):
        assert asked("wan2.1-14b", output_video_seconds=2.0)[1]["output_video_frames_per_s"].value == 16


class TestSound:
    def test_of_a_stated_length(self):
        columns, _ = asked("stable-audio-open-1.0", output_audio_seconds=12.0, steps=10, evaluations_per_step=2)
        assert (columns["evaluations"], columns["evaluation_volume"]) == (20.0, 240.0)

    def test_of_the_usual_length(self):
        # 47.5 s of Stable Audio Open
        columns, assumed = asked("stable-audio-open-1.0")
        assert columns["output_volume"] == pytest.approx(47.5, abs=0.6)
        assert assumed["output_audio_seconds"].source in CATALOGUE.sources

    def test_made_at_once_takes_one_evaluation(self):
        assert asked("kokoro-82m", output_audio_seconds=7.0)[0]["evaluations"] == 1.0


# --- pictures that are given ------------------------------------------------------------------------------------------


class TestEditing:
    SIDE = pictures((1024, 1024))

    def test_half_of_the_strength_is_half_of_the_steps(self):
        full, half = (
            asked("sdxl-base", input_images=self.SIDE, output_images=self.SIDE, steps=50, strength=strength)[0]
            for strength in (1.0, 0.5)
        )
        assert (full["evaluations"], half["evaluations"]) == (100.0, 50.0)
        assert half["output_volume"] == full["output_volume"]

    def test_the_least_strength_takes_one_step(self):
        columns, _ = asked("sdxl-base", input_images=self.SIDE, steps=50, evaluations_per_step=1, strength=0.001)
        assert columns["evaluations"] == 1.0

    def test_the_picture_is_encoded(self):
        assert asked("sdxl-base", input_images=pictures((1024, 512)), strength=0.5)[0]["input_volume"] == 0.5

    def test_latents_of_the_picture_lengthen_nothing(self):
        given, none = (asked("sdxl-base", steps=50, input_images=images)[0] for images in (self.SIDE, ()))
        assert given["evaluation_volume"] == none["evaluation_volume"]

    def test_a_reference_lengthens_the_sequence(self):
        # One of the size of the output: twice the tokens, four times the pairs
        work = {"output_images": self.SIDE, "steps": 10, "evaluations_per_step": 1}
        given, none = (asked("flux.1-kontext-dev", input_images=i, **work)[0] for i in (self.SIDE, ()))
        assert (none["evaluation_volume"], none["evaluation_pairs"]) == (10.0, 10.0)
        assert (given["evaluation_volume"], given["evaluation_pairs"]) == (20.0, 40.0)

    def test_three_references(self):
        # Four times the tokens, 16 times the pairs
        work = {"output_images": self.SIDE, "steps": 10, "evaluations_per_step": 1}
        columns, _ = asked("flux.1-kontext-dev", input_images=self.SIDE * 3, **work)
        assert (columns["evaluation_volume"], columns["evaluation_pairs"]) == (40.0, 160.0)

    def test_a_reference_enters_with_at_most_2_20_pixels(self):
        work = {"output_images": self.SIDE, "steps": 10, "evaluations_per_step": 1}
        columns, _ = asked("flux.1-kontext-dev", input_images=pictures((4096, 2048)), **work)
        assert (columns["evaluation_volume"], columns["input_volume"]) == (20.0, 8.0)

    def test_strength_needs_a_picture(self):
        with pytest.raises(InvalidInput, match="picture to change") as error:
            asked("sdxl-base", strength=0.5)
        assert error.value.field == "strength"


class TestUpscaling:
    @pytest.mark.parametrize("name", ["real-esrgan-x4plus", "sd-x4-upscaler", "aura-sr-v2"])
    def test_sides_of_four_times_the_length(self, name):
        columns, assumed = asked(name, input_images=pictures((300, 200)))
        assert columns["output_volume"] == pytest.approx(1200 * 800 / MPX, rel=1e-12)
        assert assumed["output_images"].value == "1200x800"

    def test_a_stated_size_is_taken(self):
        columns, _ = asked("real-esrgan-x4plus", input_images=pictures((256, 256)), output_images=pictures((512, 512)))
        assert columns["output_volume"] == 0.25

    def test_a_model_that_changes_pictures_does_not_enlarge_them(self):
        columns, _ = asked("sdxl-base", input_images=pictures((512, 512)), strength=0.5)
        assert columns["output_volume"] == 1.0


# --- what is not made -------------------------------------------------------------------------------------------------


class TestRefused:
    def test_a_size_that_is_not_sold(self):
        with pytest.raises(InvalidInput) as error:
            asked("dall-e-3", output_images=pictures((1000, 1000)))
        assert error.value.field == "output_images"
        assert "1000x1000" in error.value.message
        for size in ("1024x1024", "1792x1024", "1024x1792"):
            assert size in error.value.hint

    @pytest.mark.parametrize("size", ["1024x1024", "1792x1024", "1024x1792"])
    def test_sizes_that_are_sold_are_made(self, size):
        width, height = map(int, size.split("x"))
        columns, _ = asked("dall-e-3", output_images=pictures((width, height)))
        assert columns["output_volume"] == width * height / MPX

    # Stability AI: Stable Diffusion 3.5 Medium makes 0.25 to 2 megapixels
    @pytest.mark.parametrize("size", [(256, 256), (2048, 2048)])
    def test_an_area_outside_the_limits(self, size):
        with pytest.raises(InvalidInput, match="megapixels") as error:
            asked("sd3.5-medium", output_images=pictures(size))
        assert "0.25 to 2" in error.value.hint

    @pytest.mark.parametrize("size", [(512, 512), (1024, 1024), (1440, 1440)])
    def test_an_area_within_the_limits(self, size):
        assert asked("sd3.5-medium", output_images=pictures(size))[0]["outputs"] == 1.0

    @pytest.mark.parametrize(
        "name, work, field, made",
        [
            ("flux.1-dev", {"output_video_seconds": 5.0}, "output_video_seconds", "images"),
            ("flux.1-dev", {"output_video_frames": 5.0}, "output_video_frames", "images"),
            ("flux.1-dev", {"output_video_size": 720}, "output_video_resolution", "images"),
            ("flux.1-dev", {"output_audio_seconds": 5.0}, "output_audio_seconds", "images"),
            ("wan2.1-14b", {"output_images": (None,)}, "output_images", "videos"),
            ("wan2.1-14b", {"output_audio_seconds": 5.0}, "output_audio_seconds", "videos"),
            ("stable-audio-open-1.0", {"output_images": (None,)}, "output_images", "sounds"),
        ],
    )
    def test_what_another_kind_of_model_makes(self, name, work, field, made):
        with pytest.raises(InvalidInput, match=f"makes {made}, not") as error:
            asked(name, **work)
        assert error.value.field == field

    def test_a_clip_with_sound_of_a_model_that_makes_both(self):
        assert asked("ltx-2", output_audio_seconds=5.0)[0]["outputs"] == 1.0


def test_a_reader_keeps_a_bounded_number_of_works(monkeypatch):
    monkeypatch.setattr("inferprint.rates.media.MAX_KEPT", 2)
    model = CATALOGUE.models["sd-1.5"]
    reader = MediaReader(CATALOGUE, model, modality_of(CATALOGUE, model))
    found = [reader.columns(MediaWork(steps=steps, evaluations_per_step=1))["evaluations"] for steps in (1, 2, 3, 1)]
    assert found == [1.0, 2.0, 3.0, 1.0]
    assert len(reader._kept) == 2


@pytest.mark.parametrize("task, size", [("image-editing", "1024x1024"), ("upscaling", "2048x2048")])
def test_a_class_of_models_enlarges_only_where_that_is_asked(task, size):
    _, assumed = asked("generic:image-generator", task=task, input_images=(Size(512, 512),))
    assert assumed["output_images"].value == size
