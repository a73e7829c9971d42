/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * An exchange: one request and its answer, as handlers see them. A handler answers with one of
 * bk_exchange_reply*(), bk_exchange_fail() or bk_exchange_begin_stream(), exactly once; either before it
 * returns or later, holding a reference meanwhile. When the client has gone, an answer does nothing. Main
 * thread only.
 */
#pragma once

#include "doctor.h"
#include "problem.h"
#include "queue.h"
#include "serve-registry.h"

#include <libsoup/soup.h>

/* What handlers work on; not owned. */
typedef struct {
  BkQueue *queue;
  BkVmRegistry *vms;
  BkRepositoryRegistry *repositories;
  BkServeRegistry *serves;
  BkEventRing *events;
  BkDoctor *doctor;
} BkServices;

typedef struct BkExchange BkExchange;

BkExchange *bk_exchange_new (SoupServerMessage *message, const BkServices *services);
BkExchange *bk_exchange_ref (BkExchange *exchange);
void bk_exchange_unref (BkExchange *exchange);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (BkExchange, bk_exchange_unref)

/* --- the request --- */

const BkServices *bk_exchange_services (const BkExchange *exchange);
const char *bk_exchange_header (const BkExchange *exchange, const char *name);
/* The @index-th {word} of the route's path, decoded. */
const char *bk_exchange_word (const BkExchange *exchange, unsigned index);
void bk_exchange_take_words (BkExchange *exchange, GPtrArray *words); /* (transfer full) strings */

/* Reads the query string. INVALID for bad escapes, names that are not in @allowed, and doubles. */
gboolean bk_exchange_read_query (BkExchange *exchange, const char *const *allowed, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* NULL when it was not given. */
const char *bk_exchange_query (const BkExchange *exchange, const char *name);
/* NULL in @word when it was not given. INVALID when it is not one of @words. */
gboolean bk_exchange_query_word (const BkExchange *exchange, const char *name, const char *const *words,
                                 const char **word, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* @value is left as it is when the parameter was not given. INVALID unless @min <= value <= @max. */
gboolean bk_exchange_query_number (const BkExchange *exchange, const char *name, uint64_t min, uint64_t max,
                                   uint64_t *value, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Reads the body as JSON. On failure the exchange has been answered (415, 400) and FALSE is returned. */
bool bk_exchange_read_body (BkExchange *exchange);
/* The body, for a route that has one. (transfer none) */
json_object *bk_exchange_body (const BkExchange *exchange);
/* The body as a struct. NULL when that is not possible: then the exchange has been answered. */
gpointer bk_exchange_body_struct (BkExchange *exchange, const BkStruct *type) G_GNUC_WARN_UNUSED_RESULT;
/* The same, where only the members @writable are the client's to set. */
gpointer bk_exchange_body_part (BkExchange *exchange, const BkStruct *type, const char *const *writable) G_GNUC_WARN_UNUSED_RESULT;

/* --- the answer --- */

void bk_exchange_add_header (BkExchange *exchange, const char *name, const char *value);
/* @json: (transfer full); NULL for an answer without a body (204). */
void bk_exchange_reply (BkExchange *exchange, unsigned status, json_object *json);
void bk_exchange_reply_struct (BkExchange *exchange, unsigned status, const BkStruct *type, gconstpointer value);
/* {"items": ITEMS, "next": NEXT}. @items: (transfer none); @next: NULL at the end. */
void bk_exchange_reply_list (BkExchange *exchange, const BkStruct *type, GPtrArray *items, const char *next);
/* Bytes that are JSON already. */
void bk_exchange_reply_bytes (BkExchange *exchange, GBytes *bytes);
/* A problem document. @error: (transfer none). */
void bk_exchange_fail (BkExchange *exchange, const GError *error);
void bk_exchange_fail_status (BkExchange *exchange, unsigned status, BkErrorCode code, const char *detail);
bool bk_exchange_is_answered (const BkExchange *exchange);

/* Called by the server when a handler has returned without an answer. */
void bk_exchange_wait (BkExchange *exchange);

/* --- a stream as the answer --- */

typedef struct {
  void (*written) (gpointer user_data); /* what was sent last has left us */
  void (*gone) (gpointer user_data);    /* the client has gone, or the server ends; nothing more is called */
} BkStreamOps;

void bk_exchange_begin_stream (BkExchange *exchange, const char *content_type, const BkStreamOps *ops, gpointer user_data);
/* Sends @text; the caller waits for written() before it sends more, so that a slow reader costs one text. */
void bk_exchange_send (BkExchange *exchange, GString *text); /* (transfer full) */
/* Cuts off a client that takes nothing; gone() follows from the main loop. */
void bk_exchange_cut (BkExchange *exchange);

/* --- for the connection that it came by --- */

typedef struct {
  void (*answered) (gpointer user_data); /* an answer that is no stream is on its way */
  void (*freed) (gpointer user_data);
  void (*cut) (gpointer user_data); /* the client shall be cut off */
} BkExchangeHooks;

void bk_exchange_set_hooks (BkExchange *exchange, const BkExchangeHooks *hooks, gpointer user_data);

/* The client has gone. */
void bk_exchange_set_gone (BkExchange *exchange);
/* The server ends: answers 503, or ends the stream. */
void bk_exchange_abort (BkExchange *exchange);
