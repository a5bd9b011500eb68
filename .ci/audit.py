"""Hold the installed packages against published advisories, and print what is found. Fails for none: CONTRIBUTING.md.

pip-audit ends well too where it could learn nothing of any package, so that what was not audited is counted here.
"""

import json
import subprocess
import sys
from typing import Any

COMMAND = "-m pip_audit --local --skip-editable --progress-spinner=off --format=json --timeout=10"
LONGEST_S = 180


def tell(found: dict[str, Any]) -> list[str]:
    """Lines about the parsed report of pip-audit: each advisory, and how many packages nothing could be learnt of."""
    packages = found["dependencies"]
    skipped = [package for package in packages if "skip_reason" in package]
    lines = []
    for package in packages:
        for advisory in package.get("vulns", []):
            mended = ", ".join(advisory["fix_versions"]) or "no version yet"
            lines.append(f"ADVISORY {advisory['id']}: {package['name']} {package['version']}; mended in {mended}")
    lines.append(f"advisories: {len(lines)} on {len(packages) - len(skipped)} packages that were audited")
    if skipped:
        reason = skipped[0]["skip_reason"]
        lines.append(f"NOT AUDITED: {len(skipped)} of {len(packages)} packages, for example: {reason}")
    return lines


def main() -> None:
    """Run pip-audit; whatever it answers, or if it doesn't, say so and end well."""
    try:
        done = subprocess.run([sys.executable, *COMMAND.split()], capture_output=True, text=True, timeout=LONGEST_S)
        lines = tell(json.loads(done.stdout))
    except subprocess.TimeoutExpired:
        lines = [f"NOT AUDITED: no answer within {LONGEST_S} s"]
    except (ValueError, KeyError, TypeError):
        reason = (done.stderr.strip().splitlines() or ["no word"])[-1]
        lines = [f"NOT AUDITED: the advisories could not be reached ({reason})"]
    print("\n".join(lines))


if __name__ == "__main__":
    main()
