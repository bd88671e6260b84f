"""FastAPI: uvicorn fastapi_service:app. The whole service below /vision, and a path by hand."""

import os

from fastapi import FastAPI, HTTPException, Request
from fastapi.concurrency import run_in_threadpool

from mnv2_engine import Engine, InputError, serve

engine = Engine.load(os.environ["MNV2_MODEL"])
app = FastAPI()
app.mount("/vision", serve.app({"animals": engine}, serve.Limits(max_bytes=4 << 20)))


@app.post("/is-it-a/{label}")
async def is_it_a(label: str, request: Request) -> dict[str, float]:
    try:
        found = await run_in_threadpool(engine.predict, await request.body(), 5)
    except InputError as error:
        raise HTTPException(422, str(error)) from None
    return {"probability": sum(each.probability for each in found if each.label == label)}
