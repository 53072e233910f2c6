"""`python -m i2i_unlearn.cli.dvc_file > dvc.yaml` writes this repository's dvc.yaml."""

if __name__ == "__main__":
    from i2i_unlearn.project.dvc_file import dvc_file

    print(dvc_file(sources=True), end="")
