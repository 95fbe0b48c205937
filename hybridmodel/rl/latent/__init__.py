"""Latent states: planning from images, with the hybrid model as the latent dynamics.

Frames, watch      episodes as a camera saw them
Encoder            an image to the coordinates of a System
fit_encoder        encoder and model together, without labels → Latent
Latent, Seeing     states from images, and a receding-horizon policy that sees
fit_latent, FreeLatent, FreePolicy   the pure latent model, for comparison
"""

from hybridmodel.rl.latent.encoder import Encoder
from hybridmodel.rl.latent.fitting import fit_encoder
from hybridmodel.rl.latent.frames import Frames, PixelPolicy, watch
from hybridmodel.rl.latent.free import FreeLatent, FreePolicy, fit_latent
from hybridmodel.rl.latent.latent import Latent, Seeing

__all__ = [
    "Encoder",
    "Frames",
    "FreeLatent",
    "FreePolicy",
    "Latent",
    "PixelPolicy",
    "Seeing",
    "fit_encoder",
    "fit_latent",
    "watch",
]
