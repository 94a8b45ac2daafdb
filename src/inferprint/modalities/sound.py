"""Music and speech made by a denoiser, or by a network that makes all of it at once; the unit of volume is a second."""

from inferprint.modalities.diffusion import diffusion

SOUND = diffusion("sound", "clip", "s of sound")
