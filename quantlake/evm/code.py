"""What a contract's code tells of its functions.

Here: their selectors, and whether these are those of a token. Not here: calling them (abi.py).

As ethereum-etl does it (https://github.com/blockchain-etl/ethereum-etl/blob/develop/ethereumetl/service/eth_contract_service.py): the selectors are
what is pushed as four bytes before the first jump destination. A dispatcher that searches by halves has some behind it, which are not found.
"""

from collections.abc import Collection

PUSH1, PUSH4, PUSH32, JUMPDEST = 0x60, 0x63, 0x7F, 0x5B  # https://www.evm.codes
TOTAL_SUPPLY, BALANCE_OF, TRANSFER, TRANSFER_FROM = "0x18160ddd", "0x70a08231", "0xa9059cbb", "0x23b872dd"
APPROVE, ALLOWANCE, OWNER_OF = "0x095ea7b3", "0xdd62ed3e", "0x6352211e"


def selectors(code: str) -> list[str]:
    """The functions that code (hex) dispatches to, as hex, ascending."""
    data = bytes.fromhex(code[2:])
    found, place = set(), 0
    while place < len(data) and data[place] != JUMPDEST:
        pushed = data[place] - PUSH1 + 1 if PUSH1 <= data[place] <= PUSH32 else 0
        operand = data[place + 1 : place + 1 + pushed]
        if data[place] == PUSH4 and len(operand) == pushed:
            found.add(f"0x{operand.hex()}")
        place += 1 + pushed
    return sorted(found)


def is_erc20(functions: Collection[str]) -> bool:
    """All functions that https://eips.ethereum.org/EIPS/eip-20 requires."""
    return {TOTAL_SUPPLY, BALANCE_OF, TRANSFER, TRANSFER_FROM, APPROVE, ALLOWANCE} <= set(functions)


def is_erc721(functions: Collection[str]) -> bool:
    """Those of https://eips.ethereum.org/EIPS/eip-721 that older tokens have too: either way of transferring is enough."""
    return {OWNER_OF, BALANCE_OF, APPROVE} <= set(functions) and not {TRANSFER, TRANSFER_FROM}.isdisjoint(functions)
