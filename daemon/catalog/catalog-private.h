/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What the files of this folder and their tests share.
 */
#pragma once

#include "catalog.h"
#include "exact-json.h"
#include "migration.h"
#include "sql.h"

struct BkCatalog {
  BkSql *sql;
  char *instance;
  int lock; /* descriptor of STATE/lock */
  bool changing;
};

/* bk_catalog_open() with other migrations than the built-in ones. */
BkCatalog *bk_catalog_open_with (const char *state_dir, const BkMigration *migrations, GError **error)
  G_GNUC_WARN_UNUSED_RESULT;

/* --- IDs by prefix --- */

/* Binds the two ends of the range of texts that start with @prefix: "id >= ? AND id < ?". No LIKE: "_" is an
 * ordinary character of an ID. */
void bk_lookup_bind_prefix (BkStatement *statement, const char *prefix);
/* Runs a statement whose rows are IDs. (transfer full) */
GPtrArray *bk_lookup_ids (BkStatement *statement, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* The one of @ids that is meant: the one that is @prefix, else the only one. NOT_FOUND, INVALID naming them.
 * Valid as long as @ids. @noun: "job". */
const char *bk_lookup_choose (GPtrArray *ids, const char *noun, const char *prefix, GError **error)
  G_GNUC_WARN_UNUSED_RESULT;
/* How many IDs a lookup needs to see: all that are named in the message, and one more. */
#define BK_LOOKUP_LIMIT "6"

/* Replaces @inner by CORRUPT for a row that cannot be read. Always NULL. @noun: "job '17'". */
gpointer bk_catalog_unreadable (BkCatalog *catalog, const char *noun, const char *id, GError *inner, GError **error);

/* Runs @delete, a statement whose only parameter is a name. When it finds nothing, as bk_catalog_no_such(). */
gboolean bk_catalog_remove_named (BkCatalog *catalog, const char *delete, const char *noun, const char *name, const char *query, GError **error);
/* NOT_FOUND "there is no NOUN 'NAME'; there are: ...", the names being the rows of @query. Always FALSE. */
gboolean bk_catalog_no_such (BkCatalog *catalog, const char *noun, const char *name, const char *query, GError **error);
