"""Flask: gunicorn --preload --workers 4 --threads 2 flask_service:app"""

import gc
import os
import threading

from flask import Flask, jsonify, request

from mnv2_engine import Engine, InputError

app = Flask(__name__)
app.config["MAX_CONTENT_LENGTH"] = 16 << 20
engine = Engine.load(os.environ["MNV2_MODEL"])  # before the fork: workers share the weights
places = threading.BoundedSemaphore(2)  # images that are decoded at once in a worker

gc.collect()
gc.freeze()  # the collector leaves shared pages alone


@app.post("/classify")
def classify():
    if not places.acquire(timeout=10):
        return jsonify(error="busy; try again"), 503, {"Retry-After": "1"}
    try:
        predictions = engine.predict(request.get_data(cache=False), top_k=5)
    except InputError as error:
        return jsonify(error=str(error)), 422
    finally:
        places.release()
    return jsonify(predictions=[each._asdict() for each in predictions])


@app.get("/healthz")
def healthz():
    return "ok\n"
