"""Features of photos by Ray: shards of WebDataset or Parquet in, Parquet out.

    python ray_features.py features photos-*.tar
    python ray_features.py features photos/*.parquet --column bytes --model mobilenet_v2 --actors 8

Each row of the output has the columns of the input but for the photo itself, its features, and an error if it cannot be read.
"""

import argparse

import ray

import injerto.ray


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", help="folder of the output")
    parser.add_argument("shards", nargs="+", help="files .tar (WebDataset), or files or folders of Parquet")
    parser.add_argument("--model", default="mobilenet_v2", help="a backbone, or the folder of a run")
    parser.add_argument("--weights", help="weights of the backbone")
    parser.add_argument("--image-size", type=int, nargs=2, help="height and width")
    parser.add_argument("--column", help="column of the photos; jpg in .tar, bytes in Parquet")
    parser.add_argument("--precision", default="float32", choices=["float32", "float16"])
    parser.add_argument("--actors", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=256)
    asked = parser.parse_args(arguments)

    if all(shard.endswith(".tar") for shard in asked.shards):
        photos, column = ray.data.read_webdataset(asked.shards, decoder=None), asked.column or "jpg"
    else:
        photos, column = ray.data.read_parquet(asked.shards), asked.column or "bytes"
    options = {"weights": asked.weights, "image_size": asked.image_size} if asked.weights or asked.image_size else {}
    features = injerto.ray.features(
        photos,
        asked.model,
        column,
        actors=asked.actors,
        batch_size=asked.batch_size,
        precision=asked.precision,
        **options,
    )
    features.write_parquet(asked.out)


if __name__ == "__main__":
    main()
