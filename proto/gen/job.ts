// Made from ../longshore/v1/job.proto by ../generate.ts. Do not edit.
export default {
  "nested": {
    "longshore": {
      "nested": {
        "v1": {
          "nested": {
            "Lane": {
              "values": {
                "INTERACTIVE": 0,
                "BATCH": 1
              }
            },
            "Phase": {
              "values": {
                "PREFILL": 0,
                "DECODE": 1
              }
            },
            "TokenIds": {
              "fields": {
                "ids": {
                  "rule": "repeated",
                  "type": "int32",
                  "id": 1
                }
              }
            },
            "Sampling": {
              "oneofs": {
                "_presencePenalty": {
                  "oneof": [
                    "presencePenalty"
                  ]
                },
                "_frequencyPenalty": {
                  "oneof": [
                    "frequencyPenalty"
                  ]
                },
                "_topLogprobs": {
                  "oneof": [
                    "topLogprobs"
                  ]
                }
              },
              "fields": {
                "temperature": {
                  "type": "double",
                  "id": 1
                },
                "topP": {
                  "type": "double",
                  "id": 2,
                  "protoName": "top_p"
                },
                "topK": {
                  "type": "int32",
                  "id": 3,
                  "protoName": "top_k"
                },
                "minP": {
                  "type": "double",
                  "id": 4,
                  "protoName": "min_p"
                },
                "seed": {
                  "type": "fixed64",
                  "id": 5
                },
                "bias": {
                  "type": "LogitBias",
                  "id": 6
                },
                "presencePenalty": {
                  "type": "double",
                  "id": 7,
                  "protoName": "presence_penalty",
                  "options": {
                    "proto3_optional": true
                  }
                },
                "frequencyPenalty": {
                  "type": "double",
                  "id": 8,
                  "protoName": "frequency_penalty",
                  "options": {
                    "proto3_optional": true
                  }
                },
                "topLogprobs": {
                  "type": "int32",
                  "id": 9,
                  "protoName": "top_logprobs",
                  "options": {
                    "proto3_optional": true
                  }
                }
              }
            },
            "LogitBias": {
              "fields": {
                "ids": {
                  "rule": "repeated",
                  "type": "int32",
                  "id": 1
                },
                "values": {
                  "rule": "repeated",
                  "type": "double",
                  "id": 2
                }
              }
            },
            "TokenLogprobs": {
              "fields": {
                "logprob": {
                  "type": "double",
                  "id": 1
                },
                "top": {
                  "rule": "repeated",
                  "type": "Alternative",
                  "id": 2
                }
              },
              "nested": {
                "Alternative": {
                  "fields": {
                    "id": {
                      "type": "int32",
                      "id": 1
                    },
                    "logprob": {
                      "type": "double",
                      "id": 2
                    }
                  }
                }
              }
            },
            "JobRequest": {
              "oneofs": {
                "prompt": {
                  "oneof": [
                    "inline",
                    "payload"
                  ]
                }
              },
              "fields": {
                "model": {
                  "type": "string",
                  "id": 1
                },
                "tenant": {
                  "type": "string",
                  "id": 2
                },
                "lane": {
                  "type": "Lane",
                  "id": 3
                },
                "surplus": {
                  "type": "bool",
                  "id": 15
                },
                "inline": {
                  "type": "TokenIds",
                  "id": 4
                },
                "payload": {
                  "type": "string",
                  "id": 5
                },
                "promptTokens": {
                  "type": "uint64",
                  "id": 6,
                  "protoName": "prompt_tokens"
                },
                "maxTokens": {
                  "type": "uint64",
                  "id": 7,
                  "protoName": "max_tokens"
                },
                "sampling": {
                  "type": "Sampling",
                  "id": 8
                },
                "stop": {
                  "rule": "repeated",
                  "type": "string",
                  "id": 9
                },
                "stopIds": {
                  "rule": "repeated",
                  "type": "int32",
                  "id": 10,
                  "protoName": "stop_ids"
                },
                "deadlineMs": {
                  "type": "uint64",
                  "id": 11,
                  "protoName": "deadline_ms"
                },
                "detached": {
                  "type": "bool",
                  "id": 12
                },
                "view": {
                  "type": "string",
                  "id": 13
                },
                "constraint": {
                  "type": "Constraint",
                  "id": 14
                }
              }
            },
            "Constraint": {
              "oneofs": {
                "_after": {
                  "oneof": [
                    "after"
                  ]
                },
                "_blank": {
                  "oneof": [
                    "blank"
                  ]
                }
              },
              "fields": {
                "schema": {
                  "type": "string",
                  "id": 1
                },
                "after": {
                  "type": "int32",
                  "id": 2,
                  "options": {
                    "proto3_optional": true
                  }
                },
                "instead": {
                  "rule": "repeated",
                  "type": "int32",
                  "id": 3
                },
                "blank": {
                  "type": "int32",
                  "id": 4,
                  "options": {
                    "proto3_optional": true
                  }
                }
              }
            },
            "Usage": {
              "fields": {
                "promptTokens": {
                  "type": "uint64",
                  "id": 1,
                  "protoName": "prompt_tokens"
                },
                "completionTokens": {
                  "type": "uint64",
                  "id": 2,
                  "protoName": "completion_tokens"
                },
                "cachedTokens": {
                  "type": "uint64",
                  "id": 3,
                  "protoName": "cached_tokens"
                }
              }
            },
            "LogRecord": {
              "oneofs": {
                "event": {
                  "oneof": [
                    "submitted",
                    "claimed",
                    "progress",
                    "tokens",
                    "handedOver",
                    "sentBack",
                    "released",
                    "finished",
                    "failed",
                    "cancelled",
                    "expired"
                  ]
                }
              },
              "fields": {
                "sequence": {
                  "type": "uint64",
                  "id": 1
                },
                "previous": {
                  "type": "uint64",
                  "id": 2
                },
                "epoch": {
                  "type": "uint64",
                  "id": 3
                },
                "phase": {
                  "type": "Phase",
                  "id": 4
                },
                "attempt": {
                  "type": "uint64",
                  "id": 5
                },
                "tokenCount": {
                  "type": "uint64",
                  "id": 6,
                  "protoName": "token_count"
                },
                "atMs": {
                  "type": "uint64",
                  "id": 7,
                  "protoName": "at_ms"
                },
                "submitted": {
                  "type": "Submitted",
                  "id": 16
                },
                "claimed": {
                  "type": "Claimed",
                  "id": 17
                },
                "progress": {
                  "type": "Progress",
                  "id": 18
                },
                "tokens": {
                  "type": "Tokens",
                  "id": 19
                },
                "handedOver": {
                  "type": "HandedOver",
                  "id": 20,
                  "protoName": "handed_over"
                },
                "sentBack": {
                  "type": "SentBack",
                  "id": 21,
                  "protoName": "sent_back"
                },
                "released": {
                  "type": "Released",
                  "id": 22
                },
                "finished": {
                  "type": "Finished",
                  "id": 23
                },
                "failed": {
                  "type": "Failed",
                  "id": 24
                },
                "cancelled": {
                  "type": "Cancelled",
                  "id": 25
                },
                "expired": {
                  "type": "Expired",
                  "id": 26
                }
              }
            },
            "Submitted": {
              "fields": {
                "request": {
                  "type": "JobRequest",
                  "id": 1
                }
              }
            },
            "Claimed": {
              "fields": {
                "worker": {
                  "type": "string",
                  "id": 1
                }
              }
            },
            "Progress": {
              "oneofs": {
                "_cached": {
                  "oneof": [
                    "cached"
                  ]
                }
              },
              "fields": {
                "done": {
                  "type": "uint64",
                  "id": 1
                },
                "total": {
                  "type": "uint64",
                  "id": 2
                },
                "stored": {
                  "type": "uint64",
                  "id": 3
                },
                "cached": {
                  "type": "uint64",
                  "id": 4,
                  "options": {
                    "proto3_optional": true
                  }
                }
              }
            },
            "Tokens": {
              "fields": {
                "first": {
                  "type": "uint64",
                  "id": 1
                },
                "ids": {
                  "rule": "repeated",
                  "type": "int32",
                  "id": 2
                },
                "logprobs": {
                  "rule": "repeated",
                  "type": "TokenLogprobs",
                  "id": 3
                }
              }
            },
            "HandedOver": {
              "fields": {
                "token": {
                  "type": "int32",
                  "id": 1
                },
                "boundary": {
                  "type": "uint64",
                  "id": 2
                },
                "cached": {
                  "type": "uint64",
                  "id": 3
                },
                "recomputed": {
                  "type": "uint64",
                  "id": 4
                },
                "logprobs": {
                  "type": "TokenLogprobs",
                  "id": 5
                }
              }
            },
            "SentBack": {
              "fields": {
                "reason": {
                  "type": "string",
                  "id": 1
                }
              }
            },
            "Released": {
              "oneofs": {
                "_excused": {
                  "oneof": [
                    "excused"
                  ]
                }
              },
              "fields": {
                "reason": {
                  "type": "string",
                  "id": 1
                },
                "excused": {
                  "type": "bool",
                  "id": 2,
                  "options": {
                    "proto3_optional": true
                  }
                }
              }
            },
            "Finished": {
              "fields": {
                "reason": {
                  "type": "Reason",
                  "id": 1
                },
                "usage": {
                  "type": "Usage",
                  "id": 2
                },
                "tokens": {
                  "type": "Tokens",
                  "id": 3
                }
              },
              "nested": {
                "Reason": {
                  "values": {
                    "STOP": 0,
                    "LENGTH": 1
                  }
                }
              }
            },
            "Failed": {
              "fields": {
                "code": {
                  "type": "string",
                  "id": 1
                },
                "message": {
                  "type": "string",
                  "id": 2
                }
              }
            },
            "Cancelled": {
              "fields": {
                "by": {
                  "type": "string",
                  "id": 1
                }
              }
            },
            "Expired": {
              "fields": {}
            },
            "WorkItem": {
              "oneofs": {
                "_follows": {
                  "oneof": [
                    "follows"
                  ]
                },
                "_outputTokens": {
                  "oneof": [
                    "outputTokens"
                  ]
                }
              },
              "fields": {
                "jobId": {
                  "type": "string",
                  "id": 1,
                  "protoName": "job_id"
                },
                "follows": {
                  "type": "uint64",
                  "id": 2,
                  "options": {
                    "proto3_optional": true
                  }
                },
                "promptTokens": {
                  "type": "uint64",
                  "id": 3,
                  "protoName": "prompt_tokens"
                },
                "outputTokens": {
                  "type": "uint64",
                  "id": 4,
                  "protoName": "output_tokens",
                  "options": {
                    "proto3_optional": true
                  }
                },
                "log": {
                  "rule": "repeated",
                  "type": "bytes",
                  "id": 5
                }
              }
            }
          }
        }
      }
    }
  }
};
