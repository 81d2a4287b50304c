"""Checks for schemathesis that know what a batch is. Loaded by `run.py` through SCHEMATHESIS_HOOKS."""

import schemathesis
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.specs.openapi.checks import negative_data_rejection


def body_of(response):
    try:
        body = response.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def told_of_an_operation(body):
    """Whether an answer says of one of its operations that it is wrong."""
    operations = [*body.get("results", {}).values(), *body.get("operations", {}).values()]
    return any(operation.get("status") == "failed" or "error" in operation for operation in operations)


@schemathesis.check
def server_keeps_up(ctx, response, case):
    """No 5xx, but 504 when the request itself gave the batch a moment only: that is what it asked for."""
    sent = case.body if isinstance(case.body, dict) else {}
    options = sent.get("options")
    if response.status_code == 504 and isinstance(options, dict) and "timeoutMs" in options:
        return None
    return not_a_server_error(ctx, response, case)


@schemathesis.check
def wrong_data_is_refused(ctx, response, case):
    """A body that the description refuses is refused, as a whole or in the operation that is wrong: under
    `continueOnError` and in a plan, a value that does not fit its column is told beside the operations that are good."""
    try:
        return negative_data_rejection(ctx, response, case)
    except (Failure, FailureGroup):
        if response.status_code == 200 and told_of_an_operation(body_of(response)):
            return None
        raise
