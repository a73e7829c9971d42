/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What the daemon was told, by command line and configuration file; the command line goes before. With neither, the
 * defaults serve root as well as an ordinary user.
 */
#pragma once

#include "bk-types.h"

typedef struct {
  char *state_dir;          /* absolute */
  char *scratch_dir;        /* absolute */
  GStrv listen;             /* never empty */
  char *export_dir;         /* absolute, and short: for sockets */
  uint64_t scratch_reserve; /* 0: the queue's default */
  uint64_t trash_seconds;   /* 0: the queue's default */
  unsigned max_running;     /* 0: the queue's default */
  unsigned freeze_seconds;  /* 0: the queue's default */
  char *hooks_dir;          /* absolute; NULL: none */
  unsigned hook_seconds;    /* 0: the queue's default */
  bool verbose;
  bool version; /* only say it */
} BkOptions;

/* Reads @argv, and the file that it names. INVALID: the message names file, group and key. NOT_FOUND, DENIED: the
 * file. */
BkOptions *bk_options_new (int argc, char **argv, GError **error) G_GNUC_WARN_UNUSED_RESULT;
void bk_options_free (BkOptions *options);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (BkOptions, bk_options_free)

/* The keys of the group [daemon] in a configuration file. */
const char *const *bk_options_keys (void);
