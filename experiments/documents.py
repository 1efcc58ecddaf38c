"""Writes the parts of README.md and docs/ that come from logs, tables and docstrings.

    python -m experiments.documents

`python -m experiments.reproduce --table` does it too.
"""

import pathlib
import re

from experiments import ablations
from experiments import api_page
from experiments.benchmarks import comparison_page
from experiments import confirmations
from experiments import differences_page
from experiments import finetune_cifar10
from experiments import relu_tanh
from experiments import run_log
from experiments import table

# The claims in README.md: the module, and how the text of the claim starts.
_CLAIMS = (
    (relu_tanh, "ReLUs reach 25% training error faster"),
    (ablations, "Crops and flips lower the test error"),
    (ablations, "Ten-crop evaluation has a lower error"),
    (
        confirmations,
        "Response normalization lowers the test error (section 3.3); 10,000 images",
    ),
    (
        confirmations,
        "Overlapping pooling lowers the test error (section 3.4); 10,000 images",
    ),
    (
        confirmations,
        "PCA color augmentation lowers the test error (section 4.1); 10,000 images",
    ),
    (confirmations, "Dropout lowers the test error"),
    (ablations, "Dropout lowers the test error"),
)
_COLUMNS = ("claim", "the paper", "measured", "verdict")


def write(folder):
    """Writes all generated pages, and the generated parts of other pages.

    Args:
        folder: the `pathlib.Path` of the repository, or of a copy of its Markdown
            files.
    """
    for name, text in pages().items():
        (folder / name).write_text(text, encoding="utf-8")
    for name, parts in generated_parts().items():
        path = folder / name
        text = path.read_text(encoding="utf-8")
        for part, content in parts.items():
            text = replace_part(text, part, content)
        path.write_text(text, encoding="utf-8")


def pages():
    """Returns {path: text} of the pages that are generated as a whole."""
    return {
        "docs/differences.md": differences_page.markdown_page(),
        "docs/python-api.md": api_page.markdown_page(),
    }


def generated_parts():
    """Returns {path of a page: {name of a part: text}}."""
    fine_tuning_log = run_log.read_log(finetune_cifar10.NAME)
    return {
        "README.md": {"results": results_table()},
        "docs/fine-tuning.md": {
            "fine-tuning": finetune_cifar10.error_table(fine_tuning_log)
        },
        "docs/performance.md": {"comparison": comparison_page.markdown_table()},
    }


def replace_part(text, name, content):
    """Returns the text of a page with new content between two comments.

    Args:
        text: Markdown with a line `<!-- NAME: ... -->` and one `<!-- end of NAME -->`.
        name: the name of the part.
        content: Markdown.

    Raises:
        ValueError: if the text does not contain the part exactly once.
    """
    pattern = rf"(<!-- {name}: [^\n]* -->\n).*?(<!-- end of {name} -->)"
    text, count = re.subn(
        pattern, lambda match: f"{match[1]}{content}\n{match[2]}", text, flags=re.DOTALL
    )
    if count != 1:
        raise ValueError(
            f"Expected one part between comments named {name}. Received: {count} parts."
        )
    return text


def results_table():
    """Returns the table of README.md: some claims with their measured effects."""
    rows = []
    for module, start in _CLAIMS:
        log = run_log.read_log(module.NAME)
        (row,) = (row for row in module.rows(log) if row[0].startswith(start))
        text, paper, measured, _, verdict = row
        # What follows the semicolon is only in experiments/README.md.
        rows.append((text, paper, measured.split(";")[0], verdict))
    return table.markdown(_COLUMNS, rows)


def main():
    write(pathlib.Path(__file__).parents[1])


if __name__ == "__main__":
    main()
