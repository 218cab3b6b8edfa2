"""The discriminator of one person: does this picture, next to the distorted input it was made from, look real?

In: `float32 (B, R, R, 6)` -1..1, candidate and distorted input. Out: logits `(B, H, H, 1)`, one for each patch.
Spectral normalisation and self-attention after SAGAN (Zhang et al. 2018); conditional as the published face-swap GAN.
"""

import keras
from keras import layers

from faceswap_pipeline.networks.autoencoder import attend
from faceswap_pipeline.networks.blocks import SpectralConv2D
from faceswap_pipeline.networks.recipe import DiscriminatorRecipe


def build_discriminator(recipe: DiscriminatorRecipe, resolution: int, name: str) -> keras.Model:
    """Candidate beside distorted input -> logits of the patches."""
    pictures = x = keras.Input((resolution, resolution, 6), name="pictures")
    for index, width in enumerate(recipe.down):
        x = SpectralConv2D(width, 4, 2, name=f"down_{index}")(x)
        x = layers.LeakyReLU(0.2, name=f"down_{index}_rectifier")(x)
        x = attend(x, recipe.attention)
    return keras.Model(pictures, SpectralConv2D(1, 4, name="head")(x), name=name)
