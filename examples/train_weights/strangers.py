"""How weights/strangers.npz is made: embeddings of rendered people, who are neither A nor B whoever those are.

    python examples/train_weights/strangers.py --faces FACES [--export weights/strangers.npz]

Two pictures of each person that the embedding was trained on; people 0480 to 0539 stay for validation.
"""

import argparse
from pathlib import Path

import numpy as np
from batches import clean_sample

from faceswap_pipeline.array_folder import write_arrays
from faceswap_pipeline.detection.meanface import load_mean_face
from faceswap_pipeline.identity import FaceEmbedder
from faceswap_pipeline.resources import weight_file
from faceswap_pipeline.train.rendered import INNER_FACE, read_faces, split_by_person

OF_EACH = 2
"""Pictures of each person."""
SIDE = 128
"""Side of the crops, px."""


def main() -> None:
    """Embed them and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=Path, required=True)
    parser.add_argument("--export", type=Path, default=Path("weights/strangers.npz"))
    arguments = parser.parse_args()
    known, _ = split_by_person(read_faces(arguments.faces))
    starts = np.unique(known.people, return_index=True)[1]
    chosen = known[np.concatenate([starts + number for number in range(OF_EACH)])]
    mean_face = load_mean_face(weight_file("mean_face"))
    samples = [clean_sample(chosen, index, mean_face, SIDE) for index in range(len(chosen))]
    masks = [np.isin(sample.label, INNER_FACE).astype(np.uint8) * 255 for sample in samples]
    embeddings = FaceEmbedder().embed([sample.picture for sample in samples], masks)
    write_arrays(arguments.export, {"embeddings": embeddings.astype(np.float16)})
    print(f"{arguments.export}: {len(embeddings)} faces of {len(starts)} people")


if __name__ == "__main__":
    main()
