"""What every network of the program says of the same pictures, as a program of its own, for each backend to run it.

inferred.py OUTPUT.npz
"""

import sys
from dataclasses import fields

import numpy as np
from numpy.typing import NDArray

from faceswap_pipeline.convert.swapper import NetworkSwapper
from faceswap_pipeline.detection.cascade import FaceDetector
from faceswap_pipeline.identity import FaceEmbedder
from faceswap_pipeline.imaging import Image
from faceswap_pipeline.networks.autoencoder import IdentityShift, build_decoder, build_encoder
from faceswap_pipeline.networks.recipe import DiscriminatorRecipe, LossRecipe, NetworkRecipe, Recipe, TrainRecipe
from faceswap_pipeline.parsing import FaceParser
from faceswap_pipeline.resources import examples_pair
from faceswap_pipeline.video.reader import read_frames

PLAIN = NetworkRecipe(resolution=32, view=(0.6, 0.8), down=(8, 8), latent=16, shared_up=8, up=(8,), learned_mask=False)
WHOLE = NetworkRecipe(
    resolution=32, view=(0.6, 0.8), stem=8, down=(16, 16), latent=16, shared_up=16, up=(16,), normalise=True,
    attention_encoder=(16, 8), attention_decoder=(16,), residual=1, face_only=True, tone_free=True, own_map=True,
)  # fmt: skip
SHUFFLED = NetworkRecipe(
    resolution=32, view=(0.6, 0.8), down=(16, 16, 16), latent=16, shared_up=16, up=(16,), shuffle_head=True
)
"""Together they have every part that a recipe can ask for."""


def swapped(network: NetworkRecipe, crops: Image, masks: Image) -> NDArray[np.float32]:
    """Swaps by networks with made weights, the same under every backend; codes are moved."""
    random, shift = np.random.default_rng(0), IdentityShift(network.latent, name="shift")
    models = {"encoder": build_encoder(network), "decoder_b": build_decoder(network, "decoder_b"), "shift": shift}
    arrays = {
        f"{key}/{variable.path}": (0.1 * random.standard_normal(variable.shape)).astype(np.float32)
        for key, model in models.items()
        for variable in model.variables
    }
    recipe = Recipe("made", network, DiscriminatorRecipe(), LossRecipe(), TrainRecipe())
    tone = {"mean": [0.1, 0.0, -0.1], "spread": [0.3, 0.25, 0.2]}
    made = NetworkSwapper(recipe, arrays, "b", 2, tone).swap(crops, masks)
    return np.concatenate([made.image, made.alpha], -1)


def inferred() -> dict[str, NDArray]:
    """By name: arrays that must not depend on the backend."""
    frame = next(iter(read_frames(examples_pair() / "video_a.mp4"))).rgb
    found = FaceDetector().detect([frame])[0]
    x0, y0, x1, y1 = np.rint(found[0].box).astype(int).tolist()
    face = np.ascontiguousarray(frame[y0:y1, x0:x1][:200, :150])
    side = min(face.shape[:2])
    crops = np.stack([face[:side, :side], face[:side, :side][:, ::-1]])
    masks = np.zeros(crops.shape[:3], np.uint8)
    masks[:, side // 6 : -side // 6, side // 5 : -side // 5] = 255
    parsed = FaceParser().parse(crops)
    return {
        "boxes": np.array([each.box for each in found]),
        "points": np.array([each.landmarks for each in found]),
        **{f"parsed/{field.name}": getattr(parsed, field.name) for field in fields(parsed)},
        "embedding": FaceEmbedder().embed(crops, masks),
        **{f"swapped/{i}": swapped(each, crops, masks) for i, each in enumerate((PLAIN, WHOLE, SHUFFLED))},
    }


if __name__ == "__main__":
    np.savez(sys.argv[1], **inferred())
