/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A connection: one client's socket for one request (libsoup closes it after the answer), with the limits that
 * hold for it: who it is, and how long it may take. Main thread only.
 */
#pragma once

#include "exchange.h"

typedef struct BkConnection BkConnection;
typedef void (*BkConnectionEnd) (BkConnection *connection, gpointer user_data);

/* Hands @stream to @soup. @end is called once when it is closed; the connection is freed after it. */
BkConnection *bk_connection_new (SoupServer *soup, GSocketConnection *stream, BkConnectionEnd end, gpointer user_data);

/* The connection that @message came by. */
BkConnection *bk_connection_of (SoupServerMessage *message);

/* Whether @message may be heard: on a unix socket its sender is root or our own user; on TCP it is no web page
 * that talks to us through somebody's browser. Else FALSE and why. */
bool bk_connection_admits (BkConnection *connection, SoupServerMessage *message, const char **why);

/* The request is complete. Its answer may take as long as it does; from then on the client has 60 s to take it. */
void bk_connection_set_exchange (BkConnection *connection, BkExchange *exchange);

/* Answers or ends what is under way on it, and reads no more. */
void bk_connection_abort (BkConnection *connection);
/* Cuts it off. */
void bk_connection_cut (BkConnection *connection);
/* Whoever is told of its end is there no more. */
void bk_connection_disown (BkConnection *connection);
