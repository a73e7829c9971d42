/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What was typed, read by table: one BkCommand row gives the parser its options and operands, the help its
 * text, and the request its JSON members, so that these can not disagree.
 *
 * Options may stand anywhere, as `--name VALUE` or `--name=VALUE`; `--` ends them. There are no abbreviations:
 * a script must not change its meaning when an option is added.
 */
#pragma once

#include "bk-types.h"

typedef enum {
  BK_OPTION_FLAG,   /* no value; true */
  BK_OPTION_TEXT,
  BK_OPTION_WORD,   /* one of .words */
  BK_OPTION_COUNT,  /* a whole number from 1 */
  BK_OPTION_SIZE,   /* bk_size_parse(); a number in JSON */
  BK_OPTION_TIME,   /* 90s, 15m, 2h, 1d; seconds in JSON */
  BK_OPTION_LIST,   /* a,b,c; may be repeated; an array in JSON */
  BK_OPTION_MAP,    /* a=x,b=y; may be repeated; an object in JSON */
  BK_OPTION_PATH,   /* made absolute: the daemon has another working directory */
  BK_OPTION_TARGET, /* as PATH, or an NBD URI, which is left as it is */
} BkOptionKind;

typedef struct {
  const char *name;  /* without the dashes; NULL ends the table */
  BkOptionKind kind;
  const char *value; /* its placeholder in help: "SOCKET"; NULL for FLAG and WORD */
  const char *const *words;
  const char *member; /* of the request, or query parameter; NULL: for the client alone */
  bool required;
  const char *help;
} BkOption;

typedef struct {
  const char *value; /* "NAME", also its key; NULL ends the table */
  BkOptionKind kind;
  const char *member;
} BkOperand;

typedef struct BkArgs BkArgs;
typedef struct BkConnection BkConnection;
typedef struct BkOutput BkOutput;

typedef struct {
  const char *name; /* "vm add"; NULL ends the table */
  const char *summary;
  const BkOption *options;   /* or NULL */
  const BkOperand *operands; /* or NULL; all are required */
  /* The exit status is that of the error's code. */
  gboolean (*run) (const BkArgs *args, BkConnection *connection, BkOutput *output, GError **error);
} BkCommand;

/* Reads @words (argv without the program and the command's own words) by @command. @globals: options that
 * every command takes. BK_ERROR_INVALID with one line that names what is wrong. */
BkArgs *bk_args_new (const BkCommand *command, const BkOption *globals, char **words, GError **error) G_GNUC_WARN_UNUSED_RESULT;
void bk_args_free (BkArgs *args);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (BkArgs, bk_args_free)

/* The command in @words: the row with the longest name that they start with, global options and their values
 * apart. *@rest: (transfer full) the other words, in their order. BK_ERROR_INVALID. */
const BkCommand *bk_args_find (const BkCommand *const *groups, const BkOption *globals, char **words, GStrv *rest,
                               GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Value of an option or operand, or NULL; (transfer none). The last one wins where it may be repeated. */
const char *bk_args_text (const BkArgs *args, const char *name);
bool bk_args_has (const BkArgs *args, const char *name);
/* Value of a COUNT, SIZE or TIME option, or @otherwise. */
uint64_t bk_args_number (const BkArgs *args, const char *name, uint64_t otherwise);

/* All values with a .member as a JSON object. (transfer full) */
json_object *bk_args_body (const BkArgs *args);
/* @path with all values with a .member as query. (transfer full) */
char *bk_args_query (const BkArgs *args, const char *path);
/* "/v1/jobs/ID/cancel" from "/v1/jobs", the operand @name, and @verb (or NULL). (transfer full) */
char *bk_args_path (const BkArgs *args, const char *collection, const char *name, const char *verb);

/* The words among @words that may name a command: neither options nor their values. At most two, with a space. (transfer full) */
char *bk_args_command_words (const BkCommand *const *groups, const BkOption *globals, char **words);

/* Help for the command or group of commands @name, or for all (""). (transfer full), NULL when there is none. */
char *bk_args_help (const BkCommand *const *groups, const BkOption *globals, const char *name);
