"""SQLAlchemy's two-phase session, as one peer. It speaks the lines of Main.java, and keeps no log:
what a dead process leaves prepared, nobody finishes.

    DIRECTORY LEDGER-URL SHOP-URL FLAVOUR CONNECTIONS ROWS-OF-A-CALLER
"""
import json
import os
import sys
import threading
import time

from sqlalchemy import create_engine, text
from sqlalchemy.orm import DeclarativeBase, Session, sessionmaker

_, _, LEDGER, SHOP, FLAVOUR, CONNECTIONS, ROWS = sys.argv
ROWS = int(ROWS)
POOL = {"pool_size": int(CONNECTIONS), "max_overflow": 0}
MOVE = "update bench_account set balance = balance {} 1 where id = :row"
DEBIT, CREDIT = text(MOVE.format("-")), text(MOVE.format("+"))
NOTE = text("insert into bench_proof values ('SQLAlchemy', :number)")


class Ledger(DeclarativeBase):
    pass


class Shop(DeclarativeBase):
    pass


ledger = create_engine(LEDGER.replace("postgres://", "postgresql+psycopg2://"), **POOL)
shop = create_engine(SHOP.replace("mysql://", "mysql+pymysql://"), **POOL)
session = sessionmaker(twophase=True, binds={Ledger: ledger, Shop: shop})


def move(now: Session, row: int) -> None:
    now.execute(DEBIT, {"row": row}, bind_arguments={"bind": ledger})
    now.execute(CREDIT, {"row": row}, bind_arguments={"bind": shop})


def call_until(end: float, first: int, took: list) -> None:
    count = 0
    while count == 0 or time.perf_counter() < end:
        asked = time.perf_counter()
        with session() as now:
            move(now, first + count % ROWS)
            now.commit()
        took.append(time.perf_counter() - asked)
        count += 1


def turn(callers: int, for_ms: float) -> dict:
    took: list = []
    cpu, started = time.process_time(), time.perf_counter()
    places = [(started + for_ms / 1000, caller * ROWS, took) for caller in range(callers)]
    threads = [threading.Thread(target=call_until, args=place) for place in places]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    count, cpu = len(took), time.process_time() - cpu
    return {
        "count": count,
        "tookMs": (time.perf_counter() - started) * 1000,
        "p50Ms": sorted(took)[(count - 1) // 2] * 1000,
        "cpuUs": cpu * 1e6 / count,
    }


def proof(count: int) -> dict:
    committed = 0
    for number in range(count):
        with session() as now:
            move(now, 0)
            for engine in (ledger, shop):
                now.execute(NOTE, {"number": number}, bind_arguments={"bind": engine})
            if number % 3 == 2:
                now.rollback()
            else:
                now.commit()
                committed += 1
    return {"committed": committed}


def answer(what: dict) -> None:
    print(json.dumps(what), flush=True)


answer({"ready": True})
for line in sys.stdin:
    command, *numbers = line.split()
    answer({"turn": turn, "proof": proof}[command](*map(int, numbers)))
os._exit(0)
