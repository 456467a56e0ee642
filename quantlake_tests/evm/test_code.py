"""Functions of a contract by its code: a recorded one, and code made by hand."""

import json

from quantlake.evm import code
from quantlake_tests.recorded import recorded

ERC20 = ("18160ddd", "70a08231", "a9059cbb", "23b872dd", "095ea7b3", "dd62ed3e")


def dispatching(*selectors: str) -> str:
    """Code that compares with each selector: DUP1 PUSH4 .. EQ PUSH1 .. JUMPI, then a jump destination."""
    return "0x" + "".join(f"8063{selector}1460ff57" for selector in selectors) + "5b00"


def test_a_recorded_contract_has_the_functions_that_ethereum_etl_found() -> None:
    expected = json.loads(recorded("onchain/ethereum_etl_rpc/test_export_contracts_job/erc721_contract/expected_contracts.json").read_text())
    found = code.selectors(expected["bytecode"])
    assert (found, code.is_erc20(found), code.is_erc721(found)) == (expected["function_sighashes"], False, True)


def test_selectors_are_what_is_pushed_before_the_first_jump_destination() -> None:
    assert code.selectors(dispatching("ffffffff", "a9059cbb", "a9059cbb")) == ["0xa9059cbb", "0xffffffff"]
    assert code.selectors("0x5b63a9059cbb") == []
    assert code.selectors("0x605b63a9059cbb") == ["0xa9059cbb"]  # a destination's byte that is pushed is none
    assert code.selectors("0x6463a9059cbb" + "63deadbeef") == ["0xdeadbeef"]  # nor is what is pushed an instruction
    assert code.selectors("0x63a9059c") == code.selectors("0x") == []


def test_tokens_have_all_functions_of_theirs() -> None:
    whole = code.selectors(dispatching(*ERC20))
    assert code.is_erc20(whole) and not code.is_erc721(whole)
    assert not any(code.is_erc20(set(whole) - {one}) for one in whole)
    transfers = ("0xa9059cbb", "0x23b872dd")
    owned = {"0x6352211e", "0x70a08231", "0x095ea7b3"}
    assert all(code.is_erc721(owned | {way}) for way in transfers) and not code.is_erc721(owned)
