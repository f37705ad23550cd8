"""Runs all unit tests and writes a JUnit report: `python3 -m tests reports/unit.xml`."""

import sys
import time
import unittest
from pathlib import Path
from xml.etree import ElementTree


class Recorder(unittest.TextTestResult):
    """Keeps each test's time and outcome for the report."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.cases = []

    def startTest(self, test):
        self._began = time.monotonic()
        self._outcome = None
        super().startTest(test)

    def stopTest(self, test):
        self.cases.append((test, time.monotonic() - self._began, self._outcome))
        super().stopTest(test)

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self._outcome = ("failure", self.failures[-1][1])

    def addError(self, test, err):
        super().addError(test, err)
        self._outcome = ("error", self.errors[-1][1])

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is not None:
            self._outcome = ("failure", "".join(str(part) for part in err[:2]))

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self._outcome = ("skipped", reason)


def report(cases, seconds):
    def count(kind):
        return str(sum(1 for _, _, outcome in cases if outcome and outcome[0] == kind))

    suite = ElementTree.Element(
        "testsuite", name="ledger", tests=str(len(cases)), failures=count("failure"),
        errors=count("error"), skipped=count("skipped"), time=f"{seconds:.3f}",
    )
    for test, duration, outcome in cases:
        group, _, name = test.id().rpartition(".")
        case = ElementTree.SubElement(suite, "testcase", classname=group, name=name, time=f"{duration:.3f}")
        if outcome:
            kind, words = outcome
            last = words.strip().splitlines()[-1] if words.strip() else kind
            ElementTree.SubElement(case, kind, message=last).text = words
    return ElementTree.ElementTree(suite)


def main(path):
    began = time.monotonic()
    tests = unittest.defaultTestLoader.discover("tests", top_level_dir=".")
    result = unittest.TextTestRunner(resultclass=Recorder, verbosity=2, stream=sys.stdout).run(tests)
    path.parent.mkdir(parents=True, exist_ok=True)
    report(result.cases, time.monotonic() - began).write(path, encoding="utf-8", xml_declaration=True)
    # A suite that found nothing has not passed.
    return 0 if result.wasSuccessful() and result.testsRun > 0 else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
