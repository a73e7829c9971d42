/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What is printed: JSON, tables, details. Whatever comes from the daemon is escaped for the terminal: a VM's
 * name must not be able to move the cursor.
 */
#pragma once

#include "bk-types.h"
#include "args.h"

typedef enum {
  BK_CELL_TEXT, /* strings as they are, times local, lists with commas, numbers as numbers, booleans yes or no */
  BK_CELL_SIZE,
  BK_CELL_RATE,  /* 0 is "no limit" */
  BK_CELL_STATE, /* coloured by meaning */
  BK_CELL_WHOLE, /* as TEXT, but never cut: it is there to be copied */
} BkCellStyle;

typedef struct {
  const char *heading; /* NULL ends the table; for details, the label */
  BkCellStyle style;
  const char *member;                /* of the struct */
  char *(*cell) (gconstpointer item); /* instead of .member; (transfer full) */
} BkColumn;

BkOutput *bk_output_new (bool json, bool quiet);
void bk_output_free (BkOutput *output);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (BkOutput, bk_output_free)

bool bk_output_is_json (BkOutput *output);
bool bk_output_is_quiet (BkOutput *output);
/* Somebody looks at it. */
bool bk_output_is_terminal (BkOutput *output);

/* One JSON document; for people on a terminal indented. */
void bk_output_json (BkOutput *output, json_object *json);
/* One line, escaped. */
void bk_output_line (BkOutput *output, const char *format, ...) G_GNUC_PRINTF (2, 3);
/* @items: pointers to @type; may be NULL. */
void bk_output_table (BkOutput *output, const BkStruct *type, GPtrArray *items, const BkColumn *columns);
/* A title and a table, when there is something in it. */
void bk_output_section (BkOutput *output, const char *title, const BkStruct *type, GPtrArray *items, const BkColumn *columns);
/* "Label: value" lines; empty values are left out. */
void bk_output_details (BkOutput *output, const BkStruct *type, gconstpointer value, const BkColumn *rows);
/* The list @json ({"items": [...]}) as JSON or as table. */
gboolean bk_output_list (BkOutput *output, const BkStruct *type, json_object *json, const BkColumn *columns, GError **error);

/* Writes out what is buffered; FALSE with FAILED or NO_SPACE when stdout could not take all. */
gboolean bk_output_flush (BkOutput *output, GError **error);

/* One line on stderr, escaped, with the program's name before it. */
void bk_output_message (const char *format, ...) G_GNUC_PRINTF (1, 2);

/* @text with control, format and invalid characters written as \n, \x1b, \u202e. (transfer full) */
char *bk_output_escape (const char *text);
/* Columns that @text takes. */
unsigned bk_output_width (const char *text);
/* Appends @text, cut or filled to @width columns. */
void bk_output_append (GString *line, const char *text, unsigned width, bool right);
/* Columns and rows of the terminal at @fd; FALSE when it is none. */
bool bk_output_terminal (int fd, unsigned *columns, unsigned *rows);
/* "yes: the guest was frozen 0.12 s", or no and why; NULL for NULL. (transfer full) */
char *bk_output_quiesce (const BkQuiesceInfo *quiesce);
/* "1:05", "2:03:00"; (transfer full) */
char *bk_output_duration (int64_t seconds);
