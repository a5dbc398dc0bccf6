module udplab/services/client

go 1.26

require udplab/services/kit v0.0.0

replace udplab/services/kit => ../kit
