"""Tokens as services in Python see and make them: PyJWT, and Flask-JWT-Extended with its default settings.

Reads a JSON object from standard input and writes one to standard output. `task` is one of:

verify  what PyJWT says of `tokens`, by `secret`, `issuer` and `audience`
lesson  what a Flask service with the lesson's routes answers to `tokens`, by `secret`
mint    an access token and a refresh token of Flask-JWT-Extended for `user`, with `claims` added
"""

import json
import sys

import jwt
from flask import Flask, jsonify
from flask_jwt_extended import (
    JWTManager,
    create_access_token,
    create_refresh_token,
    get_jwt_identity,
    jwt_required,
)


def verify(asked):
    def say(token):
        try:
            claims = jwt.decode(
                token,
                asked["secret"],
                algorithms=["HS256"],
                issuer=asked["issuer"],
                audience=asked["audience"],
                options={"require": ["exp", "iat", "sub"]},
            )
            return claims["sub"]
        except jwt.PyJWTError as error:
            return type(error).__name__

    return [say(token) for token in asked["tokens"]]


def flask(asked):
    app = Flask("lesson")
    app.config["JWT_SECRET_KEY"] = asked["secret"]
    JWTManager(app)

    @app.get("/profile")
    @jwt_required()
    def profile():
        return jsonify(user=get_jwt_identity())

    @app.post("/refresh")
    @jwt_required(refresh=True)
    def refresh():
        return jsonify(access_token=create_access_token(identity=get_jwt_identity()))

    return app


def lesson(asked):
    client = flask(asked).test_client()

    def say(token):
        headers = {"Authorization": f"Bearer {token}"}
        answers = [client.get("/profile", headers=headers), client.post("/refresh", headers=headers)]
        return [[answer.status_code, answer.get_json()] for answer in answers]

    return [say(token) for token in asked["tokens"]]


def mint(asked):
    with flask(asked).app_context():
        made = {"identity": asked["user"], "additional_claims": asked["claims"]}
        return [create_access_token(**made), create_refresh_token(**made)]


asked = json.load(sys.stdin)
json.dump({"verify": verify, "lesson": lesson, "mint": mint}[asked["task"]](asked), sys.stdout)
