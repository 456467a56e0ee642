"""A few messages of each venue, after its documentation, and frames of them."""

from datetime import UTC, datetime

import polars as pl

GOOD: dict[str, list[tuple[str, str]]] = {
    "binance_v3": [
        ("", '{"stream":"btcusdt@aggTrade","data":{"e":"aggTrade","E":1672515782136,"s":"BTCUSDT","a":12345,"p":"0.001","q":"100","f":100,"l":105,"T":1672515782136,"m":true,"M":true}}'),
        ("", '{"e":"depthUpdate","E":1672515782136,"s":"BNBBTC","U":157,"u":160,"b":[["0.0024","10"]],"a":[["0.0026","0.00000000"]]}'),
        ("", '{"stream":"x@depth","data":{"e":"depthUpdate","E":1672515782137,"s":"BNBBTC","U":161,"u":161,"b":[],"a":[]}}'),
        ("", '{"u":400900217,"s":"BNBUSDT","b":"25.35190000","B":"31.21000000","a":"25.36520000","A":"40.66000000"}'),
        ("/api/v3/depth?limit=5&symbol=BNBBTC", '{"lastUpdateId":156,"bids":[["4.0","431.0"]],"asks":[["4.2","12.0"]]}'),
    ],
    "bitmex_v1": [
        ("", '{"table":"trade","action":"insert","data":[{"timestamp":"2021-07-22T22:36:10.014Z","symbol":"XBTUSD","side":"Buy","size":52,"price":1.819e-05,"trdMatchID":"39744121"}]}'),
        ("", '{"table":"orderBookL2","action":"partial","filter":{"symbol":"XBTUSD"},"data":[{"symbol":"XBTUSD","id":8799,"side":"Sell","size":10,"price":17.25}]}'),
        ("", '{"table":"orderBookL2","action":"update","data":[{"symbol":"XBTUSD","id":8799,"side":"Sell","size":5},{"symbol":"ETHUSD","id":1,"side":"Buy","size":2}]}'),
        ("", '{"table":"orderBookL2","action":"delete","data":[{"symbol":"XBTUSD","id":8799,"side":"Sell"}]}'),
        ("", '{"table":"orderBookL2_25","action":"partial","filter":{"symbol":"NEWUSD"},"data":[]}'),
        ("", '{"table":"quote","action":"insert","data":[{"timestamp":"2021-07-22T22:36:10.014Z","symbol":"XBTUSD","bidSize":750,"bidPrice":17.277,"askPrice":null,"askSize":null}]}'),
    ],
    "bitstamp_v2": [
        ("", '{"data":{"id":216000477,"timestamp":"1641343699","amount":0.0792,"amount_str":"0.07920000","price":3805.44,"price_str":"3805.44","type":1,"microtimestamp":"1641343699596000"},"channel":"live_trades_ethusd","event":"trade"}'),
        ("", '{"data":{"timestamp":"1641343691","microtimestamp":"1641343691244908","bids":[["1.15979","993.0"]],"asks":[["1.16","0.00000000"]]},"channel":"diff_order_book_bateur","event":"data"}'),
        ("/api/v2/order_book/bateur?group=1", '{"timestamp": "1641343695", "microtimestamp": "1641343695572693", "bids": [["0.14695", "4567.4"]], "asks": []}'),
    ],
    "bybit_v2": [
        ("", '{"topic":"trade.BCHUSDT","data":[{"symbol":"BCHUSDT","price":"1053.90","size":0.14,"trade_time_ms":"1618677785116","side":"Buy","trade_id":"01cacfe9"}]}'),
        ("", '{"topic":"trade.BTCUSD","data":[{"trade_time_ms":1618677786614,"symbol":"BTCUSD","side":"Sell","size":4,"price":60621.5,"trade_id":"5ffb","cross_seq":5938955347}]}'),
        ("", '{"topic":"orderBookL2_25.BCHUSDT","type":"snapshot","data":{"order_book":[{"price":"1053.05","symbol":"BCHUSDT","id":"10530500","side":"Buy","size":2.63}]},"cross_seq":"1","timestamp_e6":"1618677786982405"}'),
        ("", '{"topic":"orderBookL2_25.EOSUSD","type":"snapshot","data":[{"price":"7.943","symbol":"EOSUSD","id":79430,"side":"Buy","size":154219}],"cross_seq":2,"timestamp_e6":1618677786982405}'),
        ("", '{"topic":"orderBook_200.100ms.EOSUSD","type":"delta","data":{"insert":[{"price":"7.9","symbol":"EOSUSD","id":79000,"side":"Sell","size":3}],"delete":[{"price":"7.943","symbol":"EOSUSD","id":79430,"side":"Buy"}],"update":[],"transactTimeE6":0},"cross_seq":3,"timestamp_e6":1618677786982406}'),
    ],
    "coinbase_pro": [
        ("", '{"type":"match","trade_id":10,"side":"sell","size":"0.04","price":"14.7775","product_id":"BAND-GBP","sequence":333938798,"time":"2021-04-17T16:43:30.244075Z"}'),
        ("", '{"type":"last_match","trade_id":9,"side":"buy","size":"1","price":"14","product_id":"BAND-GBP","sequence":5,"time":"2021-04-17T16:43:30Z"}'),
        ("", '{"type":"ticker","sequence":333938798,"product_id":"BAND-GBP","price":"14.7775","best_bid":"14.7550","best_ask":"0","side":"buy","time":"2021-04-17T16:43:30.244075Z"}'),
        ("", '{"type":"snapshot","product_id":"BAND-GBP","asks":[["14.8024","12.77"]],"bids":[["14.7","1"],["14.6","2"]]}'),
        ("", '{"type":"l2update","product_id":"BAND-GBP","changes":[["sell","14.8024","0.00"],["buy","14.71","660.5"]],"time":"2021-04-17T16:43:37.075687Z"}'),
    ],
    "gemini_v2": [
        ("", '{"type":"l2_updates","symbol":"BTCUSD","changes":[["buy","9122.04","0.00121425"],["sell","9122.07","0.98942292"]],"trades":[{"type":"trade","symbol":"BTCUSD","event_id":169841458,"timestamp":1560976400428,"price":"9122.04","quantity":"0.0073173","side":"sell"}],"auction_events":[]}'),
        ("", '{"type":"l2_updates","symbol":"NEWUSD","changes":[],"trades":[]}'),
        ("", '{"type":"l2_updates","symbol":"BTCUSD","changes":[["buy","9121.76","0"]]}'),
        ("", '{"type":"trade","symbol":"BTCUSD","event_id":3575573053,"timestamp":151231241,"price":"9004.21","quantity":"0.09110000","side":"buy"}'),
    ],
    "kraken_v1": [
        ("", '[993,[["354.11000000","0.89594024","1618678142.557535","s","l",""],["354.2","1","1618678142.557536","b","m",""]],"trade","XMR/USD"]'),
        ("", '[1668,{"a":["13.253900",35,"35.72892241"],"b":["13.232900",185,"185.18432037"],"c":["13.253900","3.7"]},"ticker","WAVES/EUR"]'),
        ("", '[1360,{"as":[["0.05005","0.00000500","1582905487.684110"]],"bs":[["0.05000","0.00000500","1582905487.684110"]]},"book-10","XBT\\/USD"]'),
        ("", '[1920,{"a":[["0.042990","364630.28","1618678145.920470"]]},{"b":[["0.042980","0.00000000","1618678145.920708"]],"c":"4105471083"},"book-10","XBT/USD"]'),
    ],
}  # fmt: skip
"""By source: path and query of a request (empty: it came over a websocket), payload."""


def frame(source: str, *messages: tuple[str, str]) -> pl.DataFrame:
    """Messages as a parser takes them."""
    requests, payloads = [request for request, _ in messages], [payload for _, payload in messages]
    return pl.DataFrame(
        {
            "source": source,
            "transport": ["rest" if request else "websocket" for request in requests],
            "channel": [request or None for request in requests],
            "payload": payloads,
            "receive_time": datetime(2022, 1, 1, tzinfo=UTC),
        },
        schema_overrides={"channel": pl.String},
    ).with_row_index("row")
