/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A server of one disk: the program that serves it, from its start until it can be connected to, and to its end. It ends
 * with the daemon, however that ends. Main thread only.
 */
#pragma once

#include "bk-types.h"

typedef struct BkServeProcess BkServeProcess;

/* Where it listens. */
typedef struct {
  char *socket;  /* unix, or NULL */
  char *host;    /* TCP */
  uint16_t port; /* never 0 */
  char *pid_file; /* the server writes its process's ID there once it listens */
} BkServeAddress;
void bk_serve_address_clear (BkServeAddress *address);
/* @listen: NULL or "unix": @socket; "tcp:HOST:PORT": HOST must be a loopback address; port 0 = one that is free now. @socket also names
 * the file of the ID. INVALID, CONFLICT. */
gboolean bk_serve_address_init (BkServeAddress *address, const char *listen, const char *socket, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* As nbdinfo takes it: (transfer full). */
char *bk_serve_address_uri (const BkServeAddress *address, const char *export_name);

/* nbdkit with our plugin; @kept: the repository, with the file of its secret. qemu-nbd for an image. (transfer full), of words */
GStrv bk_serve_command_dedup (const BkServeAddress *address, const BkRepositoryInfo *kept, const char *backup, const char *disk);
GStrv bk_serve_command_image (const BkServeAddress *address, const char *image, const char *export_name);

/* @ready: called once, with NULL when clients can connect, or why it never will be (then the process is over): CONFLICT when another
 * program has taken the address meanwhile. @ended: after a
 * good ready, when the process has ended of its own accord. Not called any more after free. FAILED when it cannot be started. */
typedef void (*BkServeReady) (const GError *error, gpointer user_data);
typedef void (*BkServeEnded) (const char *last_words, gpointer user_data);
BkServeProcess *bk_serve_process_new (GStrv command, const BkServeAddress *address, BkServeReady ready, BkServeEnded ended, gpointer user_data, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Ends it, and waits for that. */
void bk_serve_process_free (BkServeProcess *process);

/* What nbdkit is told to load: a path, or the name of the installed plugin; (transfer full). */
char *bk_serve_find_plugin (void);
