/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The route table: which handler answers what. tests/lint compares it with api/openapi.yaml, both ways. Pure.
 */
#pragma once

#include "exchange.h"

typedef void (*BkHandler) (BkExchange *exchange);

typedef struct {
  const char *method;
  const char *path;         /* "/v1/jobs/{id}" */
  BkHandler handler;
  const char *const *query; /* parameters that it takes, or NULL */
  bool body;                /* it takes a JSON body */
} BkRoute;

/* The route for @method (HEAD is served as GET) and @path as it came, still with its escapes.
 * @words: (out) (transfer full) what stands for each {word}, decoded. NULL when there is none; then @allow
 * (out) (transfer full) lists the methods that this path has, or is NULL for a path that does not exist. */
const BkRoute *bk_routes_find (const char *method, const char *path, GPtrArray **words, char **allow);

/* "METHOD /v1/path/{word}", in the table's order; (transfer full) */
GStrv bk_routes_list (void);
